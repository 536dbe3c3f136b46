#include <fmt/format.h>
#include <gtest/gtest.h>

#include "jit/code/slots.h"
#include "tests/jit/code/test_functions.h"

TL_LABEL(nested);
TL_LABEL(nested_outer);
TL_LABEL(nested_inner);
TL_LABEL(nested_latch);
TL_LABEL(nested_out);
TL_LABEL(nested_end);
TL_LABEL(shared_header);
TL_LABEL(shared_header_top);
TL_LABEL(shared_header_out);
TL_LABEL(shared_header_end);
TL_LABEL(irreducible);
TL_LABEL(irreducible_outer);
TL_LABEL(irreducible_a);
TL_LABEL(irreducible_own);
TL_LABEL(irreducible_b);
TL_LABEL(irreducible_end);
TL_LABEL(jump_table);
TL_LABEL(jump_table_top);
TL_LABEL(jump_table_inner);
TL_LABEL(jump_table_end);
TL_LABEL(call_in_loop);
TL_LABEL(call_in_loop_top);
TL_LABEL(call_in_loop_end);
TL_LABEL(push_in_loop);
TL_LABEL(push_in_loop_top);
TL_LABEL(push_in_loop_push);
TL_LABEL(push_in_loop_end);
TL_LABEL(balanced_pushes);
TL_LABEL(balanced_pushes_top);
TL_LABEL(balanced_pushes_end);
TL_LABEL(frame_in_loop);
TL_LABEL(frame_in_loop_top);
TL_LABEL(frame_in_loop_end);
TL_LABEL(one_way_pushed);
TL_LABEL(one_way_pushed_top);
TL_LABEL(one_way_pushed_end);
TL_LABEL(popped_first);
TL_LABEL(popped_first_top);
TL_LABEL(popped_first_end);
TL_LABEL(aligned_stack);
TL_LABEL(aligned_stack_top);
TL_LABEL(aligned_stack_end);
TL_LABEL(alloca_in_loop);
TL_LABEL(alloca_in_loop_top);
TL_LABEL(alloca_in_loop_end);
TL_LABEL(outer_frame);
TL_LABEL(outer_frame_top);
TL_LABEL(outer_frame_end);
TL_LABEL(left_at_two_depths);
TL_LABEL(left_at_two_depths_top);
TL_LABEL(left_at_two_depths_end);
TL_LABEL(below_the_stack);
TL_LABEL(below_the_stack_top);
TL_LABEL(below_the_stack_end);
TL_LABEL(balanced_pushes_out);
TL_LABEL(syscall_in_loop);
TL_LABEL(syscall_in_loop_top);
TL_LABEL(syscall_in_loop_end);
TL_LABEL(slots);
TL_LABEL(slots_top);
TL_LABEL(slots_cmov);
TL_LABEL(slots_end);
TL_LABEL(many_slots);
TL_LABEL(many_slots_top);
TL_LABEL(many_slots_end);
TL_LABEL(slot_areas);
TL_LABEL(slot_areas_top);
TL_LABEL(slot_areas_end);

namespace tracelift::jit {
namespace {

LoopFacts FactsOf(const FunctionCode& function, const char* header) {
  auto facts = AnalyseLoop(function.decoded(), LoopWithHeader(function, header));
  if (!facts.has_value()) ADD_FAILURE() << Describe(facts.error());
  return facts.has_value() ? *facts : LoopFacts();
}

/// "rsp+8 8 r": base, displacement, bytes, how it is used.
std::string Text(const Slot& slot) {
  static constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"};
  return fmt::format("{}{}{}{} {} {}{}", slot.fs ? "fs:" : "", slot.base < 0 ? "" : kNames[slot.base], slot.base < 0 ? "" : "+",
                     slot.displacement, slot.bytes, slot.read ? "r" : "", slot.written ? "w" : "");
}

TEST(AnalyseLoop, NamesWhatStopsALoop) {
  EXPECT_EQ(Verdict(*TL_DECODE(nested), nested_outer), "accepted");
  EXPECT_EQ(Verdict(*TL_DECODE(call_in_loop), call_in_loop_top).substr(0, 17), "CallInLoop 'call ");
  EXPECT_EQ(Verdict(*TL_DECODE(push_in_loop), push_in_loop_top), "StackPointerChanges 'push rcx: not undone on every way round'");
  EXPECT_EQ(Verdict(*TL_DECODE(jump_table), jump_table_top), "IndirectBranch 'jmp qword ptr [r8+rax*8]'");
  EXPECT_EQ(Verdict(*TL_DECODE(jump_table), jump_table_inner), "accepted");
  EXPECT_EQ(Verdict(*TL_DECODE(irreducible), irreducible_outer), "IrreducibleLoop 'test edi, edi'");
  EXPECT_EQ(Verdict(*TL_DECODE(irreducible), irreducible_own), "accepted");
  // From its header on, the cycle itself is an ordinary loop; its other entry belongs to the loop around it.
  const std::string cycle = Verdict(*TL_DECODE(irreducible), irreducible_a);
  EXPECT_EQ(cycle == "no such loop" ? Verdict(*TL_DECODE(irreducible), irreducible_b) : cycle, "accepted");
  EXPECT_EQ(Verdict(*TL_DECODE(syscall_in_loop), syscall_in_loop_top), "UnsupportedInstruction 'syscall'");
}

TEST(AnalyseLoop, FollowsTheStackPointer) {
  EXPECT_EQ(Verdict(*TL_DECODE(frame_in_loop), frame_in_loop_top), "accepted");
  const auto function = TL_DECODE(balanced_pushes);
  const LoopFacts facts = FactsOf(*function, balanced_pushes_top);
  EXPECT_EQ(facts.pass_stack, 32);
  EXPECT_FALSE(facts.clobbered.HasGpr(kRsp));
  ASSERT_EQ(facts.exits.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(facts.exit_stack[i], facts.exits[i] == Address(balanced_pushes_out) ? 32 : 0);
  ASSERT_EQ(facts.slots.size(), 1u);  // what is pushed is none
  EXPECT_EQ(Text(facts.slots[0]), "rsp+8 4 rw");
}

TEST(AnalyseLoop, SaysWhyTheStackPointerIsLost) {
  const auto why = [](const std::string& verdict) {
    EXPECT_TRUE(verdict.starts_with("StackPointerChanges '")) << verdict;
    return verdict.substr(verdict.find('\'') + 1, verdict.rfind('\'') - verdict.find('\'') - 1);
  };
  EXPECT_EQ(why(Verdict(*TL_DECODE(one_way_pushed), one_way_pushed_top)).substr(0, 34), "push rcx: not the same on every wa");
  EXPECT_EQ(why(Verdict(*TL_DECODE(popped_first), popped_first_top)), "pop rcx: above where it was at the loop's begin");
  EXPECT_EQ(why(Verdict(*TL_DECODE(aligned_stack), aligned_stack_top)), "and rsp, 0xffffffffffffffe0");
  EXPECT_EQ(why(Verdict(*TL_DECODE(alloca_in_loop), alloca_in_loop_top)), "sub rsp, rax");
  EXPECT_EQ(why(Verdict(*TL_DECODE(outer_frame), outer_frame_top)), "lea rsp, [rbp-0x28]");
  EXPECT_NE(why(Verdict(*TL_DECODE(left_at_two_depths), left_at_two_depths_top)).find("depends on the way taken"), std::string::npos);
  EXPECT_EQ(why(Verdict(*TL_DECODE(below_the_stack), below_the_stack_top)),
            "push rcx, in a function that keeps data below its stack pointer (mov rax, qword ptr [rsp-0x8])");
}

TEST(AnalyseLoop, GivesTheAddressOfWhatStopsIt) {
  const auto function = TL_DECODE(push_in_loop);
  const auto facts = AnalyseLoop(function->decoded(), LoopWithHeader(*function, push_in_loop_top));
  ASSERT_FALSE(facts.has_value());
  EXPECT_EQ(facts.error().address, Address(push_in_loop_push));
}

TEST(AnalyseLoop, ExitsAreTheTargetsOutside) {
  const auto nest = TL_DECODE(nested);
  EXPECT_EQ(FactsOf(*nest, nested_inner).exits, (std::vector<uint64_t>{Address(nested_latch)}));
  EXPECT_EQ(FactsOf(*nest, nested_outer).exits, (std::vector<uint64_t>{Address(nested_out)}));
  EXPECT_EQ(FactsOf(*nest, nested_outer).header, Address(nested_outer));
  EXPECT_EQ(FactsOf(*TL_DECODE(shared_header), shared_header_top).exits,
            (std::vector<uint64_t>{Address(shared_header_out)}));
}

TEST(AnalyseLoop, WrittenHoldsWhatTheLoopChanges) {
  const LoopFacts facts = FactsOf(*TL_DECODE(nested), nested_inner);
  RegisterSet expected;
  expected.AddGpr(kRax);
  expected.AddGpr(kRdx);
  expected.AddFlags();
  EXPECT_EQ(facts.written, expected);
}

TEST(Slots, AreScalarsAtFixedAddresses) {
  const LoopFacts facts = FactsOf(*TL_DECODE(slots), slots_top);
  std::vector<std::string> found;
  for (const Slot& slot : facts.slots) found.push_back(Text(slot));
  // Not: [rcx] (changes), gs:, fs: with two registers or rsp, lea, nop, prefetch, rsp+88 (locked). rbp+8 has an index.
  EXPECT_EQ(found, (std::vector<std::string>{"4660 1 r", fmt::format("{} 8 r", Address(slots)), "rbx+0 16 r",
                                             "rbx+16 16 r", "rsp+8 8 r", "rsp+16 8 rw", "rsp+24 8 r", "rsp+32 8 r",
                                             "rsp+96 1 w", "rsp+128 32 r", "fs:40 8 r", "fs:rbx+8 8 w"}));
}

TEST(Slots, CoverAccessesThatOverlap) {
  const auto function = TL_DECODE(slot_areas);
  const LoopFacts facts = FactsOf(*function, slot_areas_top);
  std::vector<std::string> found;
  for (const Slot& slot : facts.slots) found.push_back(fmt::format("{} stored {:#x}", Text(slot), slot.stored));
  EXPECT_EQ(found, (std::vector<std::string>{"rsp+7 9 r stored 0x0", "rbp+-96 64 rw stored 0xffffffffffff0000",
                                             "rbp+-8 8 rw stored 0xf0"}));
  std::string offsets;
  for (const Instruction& instruction : function->decoded().instructions) {
    for (int i = 0; i < instruction.info.operand_count; ++i) {
      const int slot = SlotIndexOf(facts, instruction, i);
      if (slot >= 0) offsets += fmt::format("{}+{} ", slot, OffsetInSlot(facts, slot, instruction, i));
    }
  }
  EXPECT_EQ(offsets, "2+0 2+4 1+48 1+44 1+63 1+0 1+16 0+0 0+1 ");
}

TEST(Slots, AreFoundAgainFromTheOperand) {
  const auto function = TL_DECODE(slots);
  const LoopFacts facts = FactsOf(*function, slots_top);
  std::string uses;
  for (const Instruction& instruction : function->decoded().instructions) {
    for (int i = 0; i < instruction.info.operand_count; ++i) {
      if (const int slot = SlotIndexOf(facts, instruction, i); slot >= 0) uses += fmt::format("{} ", slot);
    }
  }
  EXPECT_EQ(uses, "4 5 1 6 7 7 2 3 3 10 11 8 0 9 5 ");
  const Instruction* cmov = function->decoded().InstructionAt(Address(slots_cmov));
  EXPECT_EQ(SlotIndexOf(facts, *cmov, 0), -1);
  EXPECT_EQ(SlotIndexOf(facts, *cmov, 1), 6);
  EXPECT_EQ(SlotIndexOf(facts, *cmov, -1), -1);
  EXPECT_EQ(SlotIndexOf(facts, *cmov, 99), -1);
}

TEST(Slots, BeyondTheLimitKeepThoseThatCarryValues) {
  const LoopFacts facts = FactsOf(*TL_DECODE(many_slots), many_slots_top);
  ASSERT_EQ(facts.slots.size(), static_cast<size_t>(kMaxSlots));
  EXPECT_EQ(Text(facts.slots[0]), "rsp+0 8 r");
  EXPECT_EQ(Text(facts.slots[kMaxSlots - 2]), "rsp+1000 8 w");
  EXPECT_EQ(Text(facts.slots[kMaxSlots - 1]), "rsp+1008 8 rw");
}

}  // namespace
}  // namespace tracelift::jit

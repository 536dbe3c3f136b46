#include <gtest/gtest.h>

#include "tests/jit/code/function_invariants.h"
#include "tests/jit/code/test_functions.h"

TL_LABEL(straight);
TL_LABEL(straight_end);
TL_LABEL(nested);
TL_LABEL(nested_outer);
TL_LABEL(nested_inner);
TL_LABEL(nested_latch);
TL_LABEL(nested_out);
TL_LABEL(nested_end);
TL_LABEL(shared_header);
TL_LABEL(shared_header_top);
TL_LABEL(shared_header_middle);
TL_LABEL(shared_header_tail);
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
TL_LABEL(jump_table_case0);
TL_LABEL(jump_table_case1);
TL_LABEL(jump_table_case2);
TL_LABEL(jump_table_inner);
TL_LABEL(jump_table_next);
TL_LABEL(jump_table_end);
TL_LABEL(interpreter);
TL_LABEL(interpreter_add);
TL_LABEL(interpreter_sub);
TL_LABEL(interpreter_end);
TL_LABEL(call_in_loop);
TL_LABEL(call_in_loop_top);
TL_LABEL(call_in_loop_after);
TL_LABEL(call_in_loop_end);
TL_LABEL(bad_bytes);
TL_LABEL(bad_bytes_bad);
TL_LABEL(bad_bytes_end);
TL_LABEL(bad_bytes_and_loop);
TL_LABEL(bad_bytes_and_loop_top);
TL_LABEL(bad_bytes_and_loop_end);
TL_LABEL(skipped_prefix);
TL_LABEL(skipped_prefix_top);
TL_LABEL(skipped_prefix_lock);
TL_LABEL(skipped_prefix_end);
TL_LABEL(loop_instruction);
TL_LABEL(loop_instruction_top);
TL_LABEL(loop_instruction_end);

namespace tracelift::jit {
namespace {

const BasicBlock& BlockOf(const FunctionCode& function, const char* label) {
  const int b = function.decoded().BlockAt(Address(label));
  if (b < 0) ADD_FAILURE() << "no block at the label";
  return function.decoded().blocks[static_cast<size_t>(std::max(b, 0))];
}

/// The first instruction of a function made of `bytes`, or why it was rejected.
std::string Decode(std::vector<uint8_t> bytes) {
  const BufferReader reader(0x1000, std::move(bytes));
  const auto function = DecodeFunction(reader, reader.range());
  if (!function.has_value()) return std::string(Name(function.error().reason));
  return Disassemble((*function)->decoded().instructions[0]);
}

TEST(DecodeFunction, StraightLineCodeIsOneBlockWithoutLoops) {
  const auto function = TL_DECODE(straight);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  ASSERT_EQ(function->decoded().blocks.size(), 1u);
  EXPECT_EQ(function->decoded().blocks[0].end_kind, BlockEnd::kReturn);
  EXPECT_EQ(function->decoded().instructions.size(), 3u);
  EXPECT_TRUE(function->loops().empty());
  EXPECT_EQ(function->InnermostLoopAt(Address(straight)), LoopId::kNone);
}

TEST(DecodeFunction, InstructionsAreFoundByAddressAndPrintInIntelSyntax) {
  const auto function = TL_DECODE(straight);
  const Instruction* mov = function->decoded().InstructionAt(Address(straight));
  ASSERT_NE(mov, nullptr);
  EXPECT_EQ(Disassemble(*mov), "mov eax, edi");
  EXPECT_EQ(function->decoded().InstructionAt(Address(straight) + 1), nullptr);
  const auto nest = TL_DECODE(nested);
  EXPECT_EQ(Disassemble(*nest->decoded().InstructionAt(Address(nested_inner))), "add rax, qword ptr [r8+rdx*8]");
}

TEST(DecodeFunction, NestedLoopsKnowTheirParents) {
  const auto function = TL_DECODE(nested);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  ASSERT_EQ(function->loops().size(), 2u);
  const LoopId outer = LoopWithHeader(*function, nested_outer), inner = LoopWithHeader(*function, nested_inner);
  ASSERT_NE(outer, LoopId::kNone);
  ASSERT_NE(inner, LoopId::kNone);
  EXPECT_EQ(function->LoopAndParents(inner), (std::vector<LoopId>{inner, outer}));
  EXPECT_EQ(function->LoopAndParents(outer), (std::vector<LoopId>{outer}));
  const LoopInfo& outer_info = function->loops()[static_cast<size_t>(outer)];
  const LoopInfo& inner_info = function->loops()[static_cast<size_t>(inner)];
  EXPECT_EQ(outer_info.depth, 1);
  EXPECT_EQ(inner_info.depth, 2);
  EXPECT_EQ(outer_info.instruction_count, 8);
  EXPECT_EQ(inner_info.instruction_count, 4);
  EXPECT_EQ(inner_info.blocks, (std::vector<AddressRange>{{Address(nested_inner), Address(nested_latch)}}));
  EXPECT_EQ(outer_info.blocks.size(), 3u);
  EXPECT_EQ(function->InnermostLoopAt(Address(nested_inner) + 1), inner);
  EXPECT_EQ(function->InnermostLoopAt(Address(nested_latch)), outer);
  EXPECT_EQ(function->InnermostLoopAt(Address(nested_out)), LoopId::kNone);
  EXPECT_EQ(function->decoded().loop_irreducible, (std::vector<bool>{false, false}));
}

TEST(DecodeFunction, LoopsThatShareAHeaderAreOne) {
  const auto function = TL_DECODE(shared_header);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  ASSERT_EQ(function->loops().size(), 1u);
  EXPECT_EQ(function->loops()[0].header, Address(shared_header_top));
  EXPECT_EQ(function->loops()[0].blocks.size(), 3u);
  const int header = function->decoded().BlockAt(Address(shared_header_top));
  EXPECT_EQ(BlockOf(*function, shared_header_middle).immediate_dominator, header);
  EXPECT_EQ(BlockOf(*function, shared_header_out).immediate_dominator, header);
  EXPECT_EQ(BlockOf(*function, shared_header_top).predecessors.size(), 3u);
  EXPECT_EQ(BlockOf(*function, shared_header_tail).end_kind, BlockEnd::kJump);
}

TEST(DecodeFunction, ACycleWithTwoEntriesIsMarkedAndSoIsWhatContainsIt) {
  const auto function = TL_DECODE(irreducible);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  const auto& marks = function->decoded().loop_irreducible;
  ASSERT_EQ(function->loops().size(), 3u);
  const LoopId outer = LoopWithHeader(*function, irreducible_outer);
  const LoopId own = LoopWithHeader(*function, irreducible_own);
  LoopId cycle = LoopWithHeader(*function, irreducible_a);
  if (cycle == LoopId::kNone) cycle = LoopWithHeader(*function, irreducible_b);
  ASSERT_NE(outer, LoopId::kNone);
  ASSERT_NE(own, LoopId::kNone);
  ASSERT_NE(cycle, LoopId::kNone);
  EXPECT_TRUE(marks[static_cast<size_t>(outer)]);
  EXPECT_TRUE(marks[static_cast<size_t>(cycle)]);
  EXPECT_FALSE(marks[static_cast<size_t>(own)]) << "it has a single entry, wherever it lies";
  EXPECT_EQ(function->LoopAndParents(own), (std::vector<LoopId>{own, cycle, outer}));
}

TEST(DecodeFunction, CodeBehindAJumpTableIsFound) {
  const auto function = TL_DECODE(jump_table);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  for (const char* label : {jump_table_case0, jump_table_case1, jump_table_case2, jump_table_next}) {
    EXPECT_GE(function->decoded().BlockAt(Address(label)), 0);
  }
  EXPECT_EQ(BlockOf(*function, jump_table_case0).immediate_dominator, -1);
  EXPECT_EQ(BlockOf(*function, jump_table_top).end_kind, BlockEnd::kIndirect);
  const LoopId outer = LoopWithHeader(*function, jump_table_top), inner = LoopWithHeader(*function, jump_table_inner);
  ASSERT_NE(outer, LoopId::kNone);
  ASSERT_NE(inner, LoopId::kNone);
  EXPECT_TRUE(function->decoded().loop_irreducible[static_cast<size_t>(outer)]);
  EXPECT_FALSE(function->decoded().loop_irreducible[static_cast<size_t>(inner)]);
  EXPECT_EQ(function->LoopAndParents(inner), (std::vector<LoopId>{inner, outer}));
}

TEST(DecodeFunction, AnInterpreterOfComputedGotosIsALoop) {
  const auto function = TL_DECODE(interpreter);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  ASSERT_EQ(function->loops().size(), 1u);
  EXPECT_NE(function->InnermostLoopAt(Address(interpreter_add)), LoopId::kNone);
  EXPECT_NE(function->InnermostLoopAt(Address(interpreter_sub)), LoopId::kNone);
}

TEST(DecodeFunction, ACallEndsItsBlock) {
  const auto function = TL_DECODE(call_in_loop);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  const BasicBlock& block = BlockOf(*function, call_in_loop_top);
  EXPECT_EQ(block.end_kind, BlockEnd::kCall);
  EXPECT_EQ(block.targets, (std::vector<uint64_t>{Address(call_in_loop_after)}));
}

class ReaderWithoutReturn : public BufferReader {
 public:
  ReaderWithoutReturn(const BufferReader& code, uint64_t callee) : BufferReader(code), callee_(callee) {}
  bool NeverReturns(uint64_t address) const override { return address == callee_; }

 private:
  const uint64_t callee_;
};

TEST(DecodeFunction, NothingFollowsACallThatNeverReturns) {
  const BufferReader code = BufferReader::OfMemory(call_in_loop, call_in_loop_end);
  const auto function = DecodeFunction(ReaderWithoutReturn(code, Address(straight)), code.range());
  ASSERT_TRUE(function.has_value());
  EXPECT_EQ(BrokenInvariant((*function)->decoded()), "");
  EXPECT_TRUE((*function)->loops().empty());
  const BasicBlock& block = BlockOf(**function, call_in_loop);
  EXPECT_EQ(block.end_kind, BlockEnd::kStop);
  EXPECT_TRUE(block.targets.empty());
  // It may look at arguments, and what it unwinds to at registers that callees keep.
  const RegisterSet live = (*function)->decoded().live_in[static_cast<size_t>((*function)->decoded().BlockAt(block.begin))];
  EXPECT_TRUE(live.HasGpr(kRdi) && live.HasGpr(kRbp) && live.HasGpr(kRsp));
  EXPECT_LT((*function)->decoded().BlockAt(Address(call_in_loop_after)), 0);
}

TEST(DecodeFunction, TheLoopInstructionIsABranch) {
  const auto function = TL_DECODE(loop_instruction);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  EXPECT_NE(LoopWithHeader(*function, loop_instruction_top), LoopId::kNone);
}

TEST(DecodeFunction, UndecodableBytesAreTheReasonWhenThereIsNoLoop) {
  const BufferReader reader = BufferReader::OfMemory(bad_bytes, bad_bytes_end);
  const auto function = DecodeFunction(reader, reader.range());
  ASSERT_FALSE(function.has_value());
  EXPECT_EQ(function.error().reason, RejectionReason::kUndecodableInstruction);
  EXPECT_EQ(function.error().address, Address(bad_bytes_bad));
  EXPECT_EQ(function.error().detail, "(bytes 06)");
}

TEST(DecodeFunction, UndecodableBytesDoNotHideTheLoopsBeforeThem) {
  const auto function = TL_DECODE(bad_bytes_and_loop);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  EXPECT_EQ(Verdict(*function, bad_bytes_and_loop_top), "accepted");
}

TEST(DecodeFunction, ABranchIntoAnInstructionMarksTheLoop) {
  const auto function = TL_DECODE(skipped_prefix);
  EXPECT_EQ(BrokenInvariant(function->decoded()), "");
  EXPECT_EQ(Verdict(*function, skipped_prefix_top).substr(0, 15), "IrreducibleLoop");
  EXPECT_EQ(BlockOf(*function, skipped_prefix_top).targets[0], Address(skipped_prefix_lock) + 1);
}

TEST(DecodeFunction, AnExchangeThatLooksLikeAPauseIsNotTakenForOne) {
  EXPECT_EQ(Decode({0xf3, 0x90, 0xc3}), "pause");
  EXPECT_EQ(Decode({0xf3, 0x41, 0x90, 0xc3}), "UndecodableInstruction");  // the CPU exchanges eax and r8d
}

TEST(DecodeFunction, TheHashDependsOnTheBytes) {
  BufferReader reader = BufferReader::OfMemory(nested, nested_end);
  const auto before = DecodeFunction(reader, reader.range());
  const auto again = DecodeFunction(reader, reader.range());
  reader.bytes()[0] ^= 2;
  const auto after = DecodeFunction(reader, reader.range());
  ASSERT_TRUE(before.has_value() && again.has_value() && after.has_value());
  EXPECT_EQ((*before)->code_hash(), (*again)->code_hash());
  EXPECT_NE((*before)->code_hash(), (*after)->code_hash());
  EXPECT_EQ((*before)->bounds(), reader.range());
}

RejectionReason ReasonFor(const std::vector<uint8_t>& bytes, AddressRange bounds) {
  const auto function = DecodeFunction(BufferReader(0x1000, bytes), bounds);
  return function.has_value() ? RejectionReason::kNoLoop : function.error().reason;
}

TEST(DecodeFunction, RejectsWhatItCannotReadAndWhatIsTooLarge) {
  const std::vector<uint8_t> nops(70000, 0x90);
  EXPECT_EQ(ReasonFor(nops, {0x1000, 0x1000}), RejectionReason::kUnreadableCode);
  EXPECT_EQ(ReasonFor(nops, {0x2000, 0x1000}), RejectionReason::kUnreadableCode);
  EXPECT_EQ(ReasonFor(nops, {0xfff, 0x1010}), RejectionReason::kUnreadableCode);
  EXPECT_EQ(ReasonFor(nops, {0x1000, 0x1000 + 65537}), RejectionReason::kFunctionTooLarge);
  EXPECT_EQ(ReasonFor(nops, {0x1000, 0x1000 + 20001}), RejectionReason::kFunctionTooLarge);
  EXPECT_EQ(ReasonFor(nops, {0x1000, 0x1000 + 20000}), RejectionReason::kNoLoop);
}

TEST(DecodeFunction, CodeThatRunsOffItsEndStops) {
  const BufferReader reader(0x1000, {0x48, 0x01, 0xc8, 0x48, 0x01});  // add rax, rcx; half of another
  const auto half = DecodeFunction(reader, reader.range());
  ASSERT_FALSE(half.has_value());
  const auto whole = DecodeFunction(reader, {0x1000, 0x1003});
  ASSERT_TRUE(whole.has_value());
  const BasicBlock& block = (*whole)->decoded().blocks[0];
  EXPECT_EQ(block.end_kind, BlockEnd::kStop);
  EXPECT_EQ(block.targets, (std::vector<uint64_t>{0x1003}));
  EXPECT_EQ((*whole)->decoded().live_in[0], RegisterSet::All() - [] {
    RegisterSet written;
    written.AddFlags();
    return written;
  }());
}

}  // namespace
}  // namespace tracelift::jit

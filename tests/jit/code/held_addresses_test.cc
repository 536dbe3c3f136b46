// Which operands in functions that a loop calls are the loop's own locals.

#include "jit/code/held_addresses.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>
#include <string>

#include "jit/code/callees.h"

#define FUNCTIONS(X) \
  X(add_to) X(through_others) X(nothing) X(unoptimised) X(overwritten) X(walking) X(local) X(ahead) X(frame_pointer) X(kept) \
  X(in_frame) X(spoilt) X(along) X(either) X(same_either_way) X(narrow) X(indexed) X(through_a_local) X(pushed) X(below)
#define DECLARE(name) extern "C" const uint8_t held_##name[], held_##name##_end[];
FUNCTIONS(DECLARE)
extern "C" const uint8_t held_begin[], held_end[];
extern "C" const uint8_t held_add_to_access[], held_through_others_access[], held_unoptimised_access[];
extern "C" const uint8_t held_overwritten_access[], held_walking_access[];

namespace tracelift::jit {
namespace {

AddressRange RangeOf(const uint8_t* begin, const uint8_t* end) {
  return {reinterpret_cast<uint64_t>(begin), reinterpret_cast<uint64_t>(end)};
}

class Functions : public CodeReader {
 public:
  bool Read(uint64_t address, std::span<uint8_t> out) const override {
    if (!RangeOf(held_begin, held_end).Contains(address)) return false;
    std::memcpy(out.data(), reinterpret_cast<const void*>(address), out.size());
    return true;
  }
  bool IsConstant(uint64_t, size_t) const override { return false; }
  std::optional<AddressRange> FunctionAround(uint64_t address) const override {
#define LOOK(name) \
  if (const AddressRange range = RangeOf(held_##name, held_##name##_end); range.Contains(address)) return range;
    FUNCTIONS(LOOK)
#undef LOOK
    return std::nullopt;
  }
};

std::string NameOf(int gpr) {
  static constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"};
  return gpr < 8 ? kNames[gpr] : fmt::format("r{}", gpr);
}

std::string Text(const HeldAddress& address) {
  return address.known() ? fmt::format("{}{:+}", NameOf(address.base), address.offset) : "?";
}

struct Spliced {
  std::shared_ptr<const FunctionCode> code;
  LoopFacts facts;

  /// What the base of the operand at `access` holds, in the copy of the function around it, and how it is used.
  std::string At(const uint8_t* access) const {
    for (const Instruction& instruction : code->decoded().instructions) {
      if (!IsInCopy(instruction.address) || OriginalAddress(instruction.address) != reinterpret_cast<uint64_t>(access)) continue;
      const int slot = SlotIndexOf(facts, instruction, 0);
      return Text(facts.HeldAt(instruction, instruction.operands[0])) + (slot < 0 ? "" : " slot");
    }
    return "no such instruction";
  }
  std::string Slots() const {
    std::string text;
    for (const Slot& slot : facts.slots) {
      text += fmt::format("{}{:+} {} {}{};", NameOf(slot.base), slot.displacement, slot.bytes, slot.read ? "r" : "", slot.written ? "w" : "");
    }
    return text;
  }
  std::string SameAtHeader() const {
    std::string text;
    for (const SameAddress& same : facts.same_at_header) text += fmt::format("{} is {};", NameOf(same.gpr), Text(same.address));
    return text;
  }
};

Spliced Splice(const uint8_t* begin, const uint8_t* end) {
  const Functions reader;
  const auto original = DecodeFunction(reader, RangeOf(begin, end));
  if (!original) throw std::runtime_error(Describe(original.error()));
  auto code = SpliceCallees(reader, **original, LoopId{0}, [](const Instruction& i) { return i.valid; });
  auto facts = AnalyseLoop(code->decoded(), LoopId{0});
  if (!facts) throw std::runtime_error(Describe(facts.error()));
  return {std::move(code), std::move(*facts)};
}
#define SPLICED(name) Splice(held_##name, held_##name##_end)

TEST(HeldAddresses, OfALocalMakeItsUsesOneSlot) {
  const Spliced spliced = SPLICED(local);
  EXPECT_EQ(spliced.At(held_add_to_access), "rsp+16 slot");
  EXPECT_EQ(spliced.Slots(), "rsp+16 8 rw;");
  EXPECT_EQ(spliced.SameAtHeader(), "");
}

TEST(HeldAddresses, TakenAheadOfTheLoopCountFromTheStackPointer) {
  const Spliced spliced = SPLICED(ahead);
  EXPECT_EQ(spliced.SameAtHeader(), "rbp is rsp+8;r12 is rsp+0;");
  EXPECT_EQ(spliced.At(held_add_to_access), "rsp+16 slot");
  EXPECT_EQ(spliced.Slots(), "rsp+16 8 rw;");
}

TEST(HeldAddresses, CountFromAFramePointer) {
  const Spliced spliced = SPLICED(frame_pointer);
  EXPECT_EQ(spliced.SameAtHeader(), "r13 is rbp-40;");
  EXPECT_EQ(spliced.At(held_add_to_access), "rbp-40 slot");
  EXPECT_EQ(spliced.Slots(), "rbp-40 8 rw;");
}

TEST(HeldAddresses, AreFollowedThroughRegistersThatCalleesKeep) {
  EXPECT_EQ(SPLICED(kept).At(held_through_others_access), "rsp+24 slot");
}

TEST(HeldAddresses, AreFollowedThroughMemory) {
  EXPECT_EQ(SPLICED(in_frame).At(held_unoptimised_access), "rsp+16 slot");
  EXPECT_EQ(SPLICED(through_a_local).At(held_add_to_access), "rsp+16 slot");
  EXPECT_EQ(SPLICED(pushed).At(held_add_to_access), "rsp+16 slot");
  EXPECT_EQ(SPLICED(spoilt).At(held_overwritten_access), "?");
}

TEST(HeldAddresses, AreLostWhereWaysDiffer) {
  EXPECT_EQ(SPLICED(either).At(held_add_to_access), "?");
  EXPECT_EQ(SPLICED(same_either_way).At(held_add_to_access), "rsp+16 slot");
  EXPECT_EQ(SPLICED(along).At(held_walking_access), "?");
}

TEST(HeldAddresses, AreLostByOtherArithmetic) {
  EXPECT_EQ(SPLICED(narrow).At(held_add_to_access), "?");
  EXPECT_EQ(SPLICED(indexed).At(held_add_to_access), "?");
}

TEST(HeldAddresses, OfWhatAPassPushedAreNoSlots) {
  const Spliced spliced = SPLICED(below);
  EXPECT_EQ(spliced.At(held_add_to_access), "rsp-8");
  EXPECT_EQ(spliced.Slots(), "");
}

}  // namespace
}  // namespace tracelift::jit

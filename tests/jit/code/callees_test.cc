// Which calls are spliced into a loop, which stay calls, and why.

#include "jit/code/callees.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

#define FUNCTIONS(X) \
  X(leaf) X(framed) X(tail) X(endless) X(pointer) X(array) X(walking) X(aligned) X(unbalanced) X(locked) X(rarely) \
  X(padded) X(rare_array) X(rare_alignment) X(rare_tail) X(two_tails) X(rare_crowd) X(crowd_first)
#define DECLARE(name) \
  extern "C" const uint8_t callees_##name[], callees_##name##_end[], callees_loop_##name[], callees_loop_##name##_end[];
FUNCTIONS(DECLARE)
extern "C" const uint8_t callees_crowd[], callees_crowd_end[], callees_crowd_members[], callees_crowd_members_end[];
extern "C" const uint8_t callees_crowd_of_leaves[], callees_crowd_of_leaves_end[];

namespace tracelift::jit {
namespace {

AddressRange RangeOf(const uint8_t* begin, const uint8_t* end) {
  return {reinterpret_cast<uint64_t>(begin), reinterpret_cast<uint64_t>(end)};
}

class TestReader : public CodeReader {
 public:
  bool Read(uint64_t address, std::span<uint8_t> out) const override {
    std::memcpy(out.data(), reinterpret_cast<const void*>(address), out.size());
    return true;
  }
  bool IsConstant(uint64_t, size_t) const override { return false; }
  std::optional<AddressRange> FunctionAround(uint64_t address) const override {
#define LOOK(name)                                                                          \
  if (const AddressRange range = RangeOf(callees_##name, callees_##name##_end); range.Contains(address)) return range;
    FUNCTIONS(LOOK)
    LOOK(crowd)
    LOOK(crowd_of_leaves)
#undef LOOK
    const AddressRange members = RangeOf(callees_crowd_members, callees_crowd_members_end);
    constexpr uint64_t kMemberBytes = 16;
    const uint64_t member = address - (address - members.begin) % kMemberBytes;
    if (members.Contains(address)) return AddressRange{member, member + kMemberBytes};
    return std::nullopt;
  }
};

bool IsLifted(const Instruction& instruction) {
  return instruction.valid && (instruction.info.attributes & ZYDIS_ATTRIB_HAS_LOCK) == 0;
}

struct Spliced {
  std::shared_ptr<const FunctionCode> code;
  std::expected<LoopFacts, Rejection> facts;
  const DecodedFunction& function() const { return code->decoded(); }
  std::string why() const { return facts ? "" : facts.error().detail; }
};

Spliced Splice(const uint8_t* begin, const uint8_t* end) {
  const TestReader reader;
  const auto original = DecodeFunction(reader, RangeOf(begin, end));
  if (!original) throw std::runtime_error(Describe(original.error()));
  auto code = SpliceCallees(reader, **original, LoopId{0}, &IsLifted);
  auto facts = AnalyseLoop(code->decoded(), LoopId{0});
  return {std::move(code), std::move(facts)};
}
#define SPLICED(name) Splice(callees_loop_##name, callees_loop_##name##_end)

int CopiesIn(const DecodedFunction& function) {
  uint64_t copies = 0;
  for (const BasicBlock& block : function.blocks) copies = std::max(copies, block.begin >> kUserAddressBits);
  return static_cast<int>(copies);
}

TEST(Callees, BecomeBlocksOfTheLoop) {
  const Spliced spliced = SPLICED(leaf);
  ASSERT_TRUE(spliced.facts) << spliced.why();
  EXPECT_EQ(CopiesIn(spliced.function()), 1);
  EXPECT_EQ(spliced.facts->pass_stack, 8);  // the return address
  EXPECT_FALSE(spliced.facts->clobbered.HasGpr(kRsp));
  EXPECT_TRUE(spliced.facts->written.HasGpr(kRsp));
  EXPECT_TRUE(spliced.function().opaque_calls.empty());
}

TEST(Callees, BringTheirOwnCalleesAndGiveBackWhatTheAbiAsks) {
  const Spliced spliced = SPLICED(framed);
  ASSERT_TRUE(spliced.facts) << spliced.why();
  EXPECT_EQ(CopiesIn(spliced.function()), 2);
  EXPECT_EQ(spliced.facts->pass_stack, 8 + 8 + 32 + 8);
  EXPECT_TRUE(spliced.facts->clobbered.HasGpr(kRbx));  // the loop's own counter
}

TEST(Callees, MayGoOnInAnotherFunction) {
  const Spliced spliced = SPLICED(tail);
  ASSERT_TRUE(spliced.facts) << spliced.why();
  EXPECT_EQ(CopiesIn(spliced.function()), 2);
}

TEST(Callees, MayHaveDetours) {
  const Spliced spliced = SPLICED(rarely);
  ASSERT_TRUE(spliced.facts) << spliced.why();
  ASSERT_EQ(spliced.facts->exits.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(spliced.facts->is_detour[i], IsInCopy(spliced.facts->exits[i]));
    EXPECT_EQ(spliced.facts->exit_stack[i], IsInCopy(spliced.facts->exits[i]) ? 8 : 0);
  }
}

// The rare path of each lies in the callee: not lifted, and no obstacle.
TEST(Callees, MayDoWithTheStackWhatTheyLikeOnWaysThatAreNotLifted) {
  const std::map<std::string, Spliced> loops = {{"array", SPLICED(rare_array)},
                                                {"alignment", SPLICED(rare_alignment)},
                                                {"another function, with its stack", SPLICED(rare_tail)},
                                                {"the same function twice", SPLICED(two_tails)}};
  for (const auto& [what, spliced] : loops) {
    ASSERT_TRUE(spliced.facts) << what << ": " << spliced.why();
    EXPECT_EQ(CopiesIn(spliced.function()), what == "the same function twice" ? 2 : 1) << what;
    EXPECT_FALSE(spliced.facts->exits.empty()) << what;
    EXPECT_GE(std::ranges::count(spliced.facts->is_detour, true), 1) << what;
  }
}

TEST(Callees, MayBePaddedWithInstructionsThatNameMemory) {
  const Spliced spliced = SPLICED(padded);
  EXPECT_TRUE(spliced.facts) << spliced.why();
}

TEST(Callees, AreNotLookedIntoWhereNoWayLeadsThrough) {
  const Spliced spliced = SPLICED(rare_crowd);
  ASSERT_TRUE(spliced.facts) << spliced.why();
  EXPECT_EQ(CopiesIn(spliced.function()), 3);  // rare_crowd, framed and leaf
}

TEST(Callees, ThatEveryWayNeedsAreLookedIntoFirst) {
  const Spliced spliced = SPLICED(crowd_first);
  ASSERT_TRUE(spliced.facts) << spliced.why();
  EXPECT_GE(CopiesIn(spliced.function()), 3);  // crowd_first, framed and leaf, and the crowd as far as it goes
}

TEST(Callees, StayCallsForAReason) {
  const std::map<std::string, Spliced> loops = {
      {"calls itself", SPLICED(endless)},      {"calls a function that is not known", SPLICED(pointer)},
      {"keeps an array", SPLICED(array)},      {"keeps an array on its stack", SPLICED(walking)},
      {"stack pointer is lost", SPLICED(aligned)}, {"stack pointer differs", SPLICED(unbalanced)},
      {"lock add", SPLICED(locked)}};
  for (const auto& [reason, spliced] : loops) {
    ASSERT_FALSE(spliced.facts) << reason;
    EXPECT_EQ(spliced.facts.error().reason, RejectionReason::kCallInLoop);
    EXPECT_NE(spliced.why().find(reason), std::string::npos) << spliced.why();
  }
}

}  // namespace
}  // namespace tracelift::jit

#include "jit/loop_coverage.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/jit/buffer_reader.h"

extern "C" const char coverage_nest[], coverage_nest_end[], coverage_packed[], coverage_packed_end[], coverage_call[],
    coverage_call_end[], coverage_straight[], coverage_straight_end[];

namespace tracelift::jit {
namespace {

std::vector<LoopCoverage> Cover(const char* begin, const char* end, bool innermost_only) {
  const BufferReader reader = BufferReader::OfMemory(begin, end);
  const auto function = DecodeFunction(reader, reader.range());
  EXPECT_TRUE(function.has_value());
  return CoverLoops(reader, **function, innermost_only);
}

TEST(LoopCoverage, FindsALoopOfKnownInstructionsLiftable) {
  const auto loops = Cover(coverage_packed, coverage_packed_end, true);
  ASSERT_EQ(loops.size(), 1u);
  EXPECT_FALSE(loops[0].rejection.has_value()) << Describe(*loops[0].rejection);
  EXPECT_EQ(loops[0].float_use, FloatUse::kVector);
  EXPECT_EQ(loops[0].instruction_count, 6);
  EXPECT_EQ(loops[0].depth, 1);
  EXPECT_TRUE(loops[0].unlifted.empty());
}

TEST(LoopCoverage, LooksAtInnermostLoopsOrAtAll) {
  const auto innermost = Cover(coverage_nest, coverage_nest_end, true);
  ASSERT_EQ(innermost.size(), 1u);
  EXPECT_TRUE(innermost[0].is_innermost);
  EXPECT_EQ(innermost[0].depth, 2);
  EXPECT_EQ(innermost[0].instruction_count, 6);
  EXPECT_EQ(innermost[0].float_use, FloatUse::kScalar);
  EXPECT_FALSE(innermost[0].rejection.has_value());
  EXPECT_EQ(Cover(coverage_nest, coverage_nest_end, false).size(), 2u);
}

TEST(LoopCoverage, NamesEachFormThatIsNotLiftedOnce) {
  const auto loops = Cover(coverage_nest, coverage_nest_end, false);
  const auto outer = std::ranges::find(loops, false, &LoopCoverage::is_innermost);
  ASSERT_NE(outer, loops.end());
  ASSERT_TRUE(outer->rejection.has_value());
  EXPECT_EQ(outer->rejection->reason, RejectionReason::kUnsupportedInstruction);
  EXPECT_EQ(outer->rejection->detail, "cpuid");
  EXPECT_EQ(outer->unlifted, (std::vector<std::string>{"cpuid", "lock add"}));
}

TEST(LoopCoverage, GivesTheReasonOfTheControlFlow) {
  const auto loops = Cover(coverage_call, coverage_call_end, true);
  ASSERT_EQ(loops.size(), 1u);
  ASSERT_TRUE(loops[0].rejection.has_value());
  EXPECT_EQ(loops[0].rejection->reason, RejectionReason::kCallInLoop);
  EXPECT_EQ(loops[0].float_use, FloatUse::kNone);
  EXPECT_TRUE(loops[0].unlifted.empty());
}

TEST(LoopCoverage, HasNothingToSayOfCodeWithoutLoops) {
  EXPECT_TRUE(Cover(coverage_straight, coverage_straight_end, false).empty());
}

}  // namespace
}  // namespace tracelift::jit

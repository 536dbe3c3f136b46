// Loops that count in steps which differ from entry to entry.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/offload/random_data.h"
#include "tests/offload/taken_loop.h"

#define ALL(X, LEVEL) \
  X(below, LEVEL) X(up_to, LEVEL) X(unsigned, LEVEL) X(marking, LEVEL) X(of_blocks, LEVEL) X(inside, LEVEL)
#define DECLARE(name, LEVEL) void steps_##name##_##LEVEL(int*, long, long, long);
extern "C" {
ALL(DECLARE, O1)
ALL(DECLARE, O2)
ALL(DECLARE, O3)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(int*, long, long, long);

struct Entry {
  long first, end, step;
};

constexpr size_t kSize = 1'000'000;

std::vector<int> Natively(Kernel kernel, const Entry& entry) {
  static const std::vector<int> before = RandomCounts(kSize);
  std::vector<int> data = before;
  kernel(data.data(), entry.first, entry.end, entry.step);
  return data;
}

// Each entry natively first, then with a variant for any steps. How many of them run elsewhere.
int CheckAll(Kernel kernel, const std::vector<Entry>& entries) {
  std::vector<std::vector<int>> expected;
  for (const Entry& entry : entries) expected.push_back(Natively(kernel, entry));
  const auto run = [&] { (void)Natively(kernel, entries[0]); };
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), run);
  if (taken.region == nullptr) return ADD_FAILURE() << taken.why, 0;
  EXPECT_FALSE(taken.variant->artifact.guards.empty());
  if (!TakeOverAgain(taken, run, For::kAnyValues)) return ADD_FAILURE() << taken.why, 0;
  int elsewhere = 0;
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i < entries.size(); ++i) {
      const uint64_t before = taken.region->executions.load();
      taken.region->image->SkipNext(0);
      taken.region->fruitless_entries = 0;
      taken.region->losses.Forgive();
      EXPECT_EQ(Natively(kernel, entries[i]), expected[i]) << entries[i].step << " " << Explain(taken);
      if (round == 1) elsewhere += taken.region->executions.load() > before;
    }
  }
  EXPECT_EQ(taken.region->mismatches.load(), 0u);
  EXPECT_TRUE(PutBack(taken));
  return elsewhere;
}

const std::vector<Entry> kEntries = {
    {0, 900'000, 1}, {7, 999'000, 2}, {100, 999'999, 3}, {0, 1'000'000, 1}, {5, 700'001, 2}};

#define AT_LEVELS_1_AND_2(NAME, KERNEL, ...)    \
  TEST(Steps, NAME##O1) {                       \
    const Kernel kernel = &steps_##KERNEL##_O1; \
    __VA_ARGS__                                 \
  }                                             \
  TEST(Steps, NAME##O2) {                       \
    const Kernel kernel = &steps_##KERNEL##_O2; \
    __VA_ARGS__                                 \
  }
#define AT_LEVELS(NAME, KERNEL, ...)            \
  AT_LEVELS_1_AND_2(NAME, KERNEL, __VA_ARGS__)  \
  TEST(Steps, NAME##O3) {                       \
    const Kernel kernel = &steps_##KERNEL##_O3; \
    __VA_ARGS__                                 \
  }

AT_LEVELS(BelowABound, below, { EXPECT_EQ(CheckAll(kernel, kEntries), 5); })
AT_LEVELS(UpToABound, up_to, { EXPECT_EQ(CheckAll(kernel, {{0, 900'000, 1}, {7, 999'000, 2}, {100, 999'998, 3}}), 3); })
AT_LEVELS(WithoutSign, unsigned, {
  EXPECT_EQ(CheckAll(kernel, {{0, 900'000, 1}, {0x7fff0000, 0x80100000, 2}, {100, 3'999'999'999, 5000}}), 3);
})
AT_LEVELS(MarkingMultiples, marking, {
  EXPECT_EQ(CheckAll(kernel, {{4, 999'999, 2}, {9, 999'999, 3}, {25, 999'000, 5}, {49, 999'999, 7}}), 4);
})
// At -O3 the length of a block is rounded to whole vectors, which addresses of what is left depend on.
AT_LEVELS_1_AND_2(OfBlocks, of_blocks, {
  EXPECT_EQ(CheckAll(kernel, {{0, 1'000'000, 4}, {0, 1'000'000, 8}, {0, 1'000'000, 500}, {0, 1'000'000, 50}}), 4);
})
AT_LEVELS(OfAnInnerLoop, inside, {
  EXPECT_EQ(CheckAll(kernel, {{0, 1000, 3}, {1, 900, 2}, {0, 1000, 5}, {5, 999, 4}}), 4);
})

// One step behind the bound there is no larger number: natively this loop ends only because it meets its bound.
AT_LEVELS(ThatMightNotEndAreTheOriginals, below, {
  constexpr long kLargest = 0x7fffffff;
  EXPECT_EQ(CheckAll(kernel, {{0, 900'000, 1}, {kLargest - 1'000'000, kLargest, 2}}), 1);
  EXPECT_EQ(CheckAll(kernel, {{0, 900'000, 1}, {kLargest - 1'000'002, kLargest - 2, 2}}), 2);
})

// Downwards through the smallest number to the largest, which is behind the bound.
AT_LEVELS(DownwardsAreTheOriginals, below, { EXPECT_EQ(CheckAll(kernel, {{0, 900'000, 1}, {0, 900'000, -5000}}), 1); })

// Natively it would never end: the chunk refuses.
AT_LEVELS(OfNothingAreTheOriginals, below, {
  constexpr long kStep = 77;
  std::vector<int> data(kSize);
  const auto run = [&] { kernel(data.data(), 0, 900'000, kStep); };
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), run);
  ASSERT_NE(taken.region, nullptr) << taken.why;
  const std::vector<jit::Guard> guards = taken.variant->artifact.guards;
  const auto of_step = std::ranges::find(guards, uint64_t{kStep}, &jit::Guard::value);
  ASSERT_TRUE(of_step != guards.end() && of_step->gpr >= 0);
  ASSERT_TRUE(TakeOverAgain(taken, run, For::kAnyValues)) << taken.why;
  jit::MachineState state = taken.region->captured, after = state;
  for (const uint64_t step : {uint64_t{kStep}, uint64_t{0}}) {
    state.gpr[of_step->gpr] = step;
    jit::ChunkResult result;
    taken.variant->function(&state, &after, 0, 1, &result);
    EXPECT_EQ(result.flags, step == 0 ? jit::kFlagUnlike : 0u);
  }
  ASSERT_TRUE(PutBack(taken));
})

// Runs once, whatever the numbers.
AT_LEVELS(BehindTheBoundAtEntry, up_to, {
  EXPECT_EQ(CheckAll(kernel, {{0, 900'000, 1}, {10, 5, 2}, {10, 10, 2}, {10, 11, 2}}), 1);
})

}  // namespace
}  // namespace tracelift::offload

// What entries count for: what they bring, and sizes that lose.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/offload/random_data.h"
#include "tests/offload/taken_loop.h"

extern "C" {
void triad_O2(double*, const double*, const double*, double, size_t);
void stencil2d_O2(double*, const double*, int, int);
void triad_O1(double*, const double*, const double*, double, size_t);
void triad_O3(double*, const double*, const double*, double, size_t);
}

namespace tracelift::offload {
namespace {

class Entries : public testing::Test {
 protected:
  static constexpr size_t kMany = 400'000, kFew = 3;

  void Run(size_t count) { triad_O2(data_.data(), data_.data() + kMany, data_.data() + 2 * kMany, 3.0, count); }
  Region& region() const { return *taken_.region; }
  uint64_t Executions() const { return region().executions.load(); }

  void SetUp() override {
    taken_ = TakeOverLoop(reinterpret_cast<const void*>(&triad_O2), [&] { Run(kMany); });
    ASSERT_NE(taken_.region, nullptr) << taken_.why;
    while (region().variant.load()->trusted_slices < 2) RunAgain(kMany);
  }
  void TearDown() override { EXPECT_TRUE(PutBack(taken_)); }

  void RunAgain(size_t count) {
    region().image->SkipNext(0);
    Run(count);
  }

  std::vector<double> data_ = RandomDoubles(3 * kMany);
  TakenLoop taken_;
};

TEST_F(Entries, ThatComeToNothingCost) {
  const int64_t before = region().gain_ns.load();
  const uint64_t arrivals = region().image->arrivals();
  for (int i = 0; i < 100; ++i) RunAgain(kFew);
  EXPECT_LT(region().gain_ns.load(), before - 100 * 100) << "in ns";
  EXPECT_GE(region().image->arrivals(), arrivals + 100);
}

TEST_F(Entries, BringWhatTheOriginalWouldHaveTaken) {
  const double pass_ns = 1000;  // ten times what it takes: so much is saved
  const int64_t before = region().gain_ns.load();
  region().costs.entries_seen = 5;  // not one that measures
  region().probe_again_ns = 1e300;
  region().costs.native_ns = pass_ns;
  RunAgain(kMany);
  EXPECT_GT(region().gain_ns.load(), before + static_cast<int64_t>(pass_ns * kMany / 2));
  EXPECT_LE(region().gain_ns.load(), before + static_cast<int64_t>(pass_ns * kMany));
}

TEST_F(Entries, OfASizeThatLostAreLeftToTheOriginal) {
  const auto run_and_see = [&] {
    const uint64_t before = Executions();
    region().fruitless_entries = 0;
    RunAgain(kMany);
    return Executions() > before;
  };
  EXPECT_TRUE(run_and_see());
  const uint64_t declined = taken_.Declines(jit::RejectionReason::kNotWorthwhile);
  for (double work_ns = 1; work_ns < 1e12; work_ns *= 2) {
    for (int i = 0; i < 3; ++i) region().losses.Add(work_ns, true);
  }
  EXPECT_FALSE(run_and_see());
  EXPECT_EQ(taken_.Declines(jit::RejectionReason::kNotWorthwhile), declined + 1) << Explain(taken_);
  region().losses.Forgive();
  EXPECT_TRUE(run_and_see());
}

// Through a patch ahead of the loop: each entry arrives once, whatever its size, and all results are the same.
TEST(EntriesAheadOfTheLoop, AreOfAnySize) {
  constexpr size_t kMost = 300'000;
  int moved = 0;
  for (const auto kernel : {&triad_O1, &triad_O2, &triad_O3}) {
    const std::vector<double> data = RandomDoubles(3 * kMost);
    const auto run = [&](std::vector<double>& v, size_t count) {
      kernel(v.data(), v.data() + kMost, v.data() + 2 * kMost, 3.0, count);
    };
    std::vector<std::pair<size_t, std::vector<double>>> native;
    for (const size_t count : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{4}, size_t{100}, size_t{5000}, kMost / 2, kMost}) {
      native.emplace_back(count, data);
      run(native.back().second, count);
    }
    std::vector<double> traced = data;
    TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] { run(traced, kMost); });
    ASSERT_NE(taken.region, nullptr) << taken.why;
    ASSERT_TRUE(PutBack(taken));
    ASSERT_TRUE(TakeOverAgain(taken, [&] { run(traced, kMost); }, For::kAnyValues)) << taken.why;
    if (!MoveAhead(taken)) {
      EXPECT_TRUE(PutBack(taken));
      continue;
    }
    ++moved;
    uint64_t entries = 0;
    for (int repeat = 0; repeat < 5; ++repeat) {
      for (const auto& [count, result] : native) {
        traced = data;
        taken.region->losses.Forgive();
        taken.region->ahead->SkipNext(0);
        run(traced, count);
        entries += count > 0 ? 1 : 0;
        EXPECT_EQ(traced, result) << count << ": " << Explain(taken);
      }
    }
    EXPECT_LE(taken.region->ahead->arrivals(), entries + 5) << "and those of no passes, perhaps";
    EXPECT_GE(taken.region->ahead->arrivals(), 5u);
    EXPECT_GT(taken.region->executions.load(), 5u) << Explain(taken);
    EXPECT_EQ(taken.region->mismatches.load(), 0u);
    EXPECT_TRUE(PutBack(taken));
  }
  EXPECT_GT(moved, 0);
}

// Passes of megabytes: keeping what they write takes longer than a few of them save. Many entries save more.
TEST(EntriesOfLongRows, AreVerifiedWhereThatIsWorthIt) {
  constexpr size_t kRows = 10, kWidth = 800'000, kMostEntries = 2000;
  std::vector<double> data = RandomDoubles(2 * kRows * kWidth);
  const auto run = [&](std::vector<double>& v) { stencil2d_O2(v.data(), v.data() + kRows * kWidth, kRows, kWidth); };
  std::vector<double> native = data;
  run(native);
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&stencil2d_O2), [&] { run(data); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  size_t entries = 0;
  for (; taken.region->executions.load() == 0 && entries < kMostEntries; ++entries) {
    taken.Forgive();
    run(data);
  }
  EXPECT_GT(entries, 1u) << Explain(taken);
  EXPECT_GT(taken.Declines(jit::RejectionReason::kNotWorthwhile), 0u) << Explain(taken);
  EXPECT_GT(taken.region->verified.load(), 0u) << Explain(taken);
  EXPECT_TRUE(data == native);
  EXPECT_TRUE(PutBack(taken));
}

// The same loop over rows of other lengths: what is known of its passes is scaled to similar ones; of others it is measured, and
// both are remembered.
TEST(EntriesOfNests, TellWhatPassesOfOtherLengthsCost) {
  constexpr size_t kRows = 400, kWidest = 2000;
  std::vector<double> data = RandomDoubles(2 * kRows * kWidest);
  const auto run = [&](int width) { stencil2d_O2(data.data(), data.data() + kRows * kWidest, kRows, width); };
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&stencil2d_O2), [&] { run(kWidest); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  ASSERT_TRUE(TakeOverAgain(
      taken, [&] { run(kWidest); }, For::kAnyValues))
      << taken.why;
  const auto run_again = [&](int width) {
    taken.region->image->SkipNext(0);
    run(width);
  };
  for (int i = 0; i < 5; ++i) run_again(kWidest);
  EXPECT_EQ(taken.Declines(jit::RejectionReason::kValuesKeepChanging), 0u) << Explain(taken);
  taken.region->costs.entries_seen = 5;  // not one that measures
  taken.region->probe_again_ns = 1e300;
  taken.region->costs.native_ns = 2000;
  const auto run_afresh = [&](int width) {
    taken.region->losses.Forgive();
    taken.region->fruitless_entries = 0;
    run_again(width);
  };
  run_afresh(1202);
  EXPECT_NEAR(taken.region->costs.native_ns, 1200, 20);
  taken.region->costs.native_ns = 1e5;  // far from what they really cost
  run_afresh(202);
  EXPECT_LT(taken.region->costs.native_ns, 5e3) << "measured, not scaled";
  EXPECT_EQ(taken.region->costs.entries_seen, 1u);
  run_afresh(1202);
  EXPECT_NEAR(taken.region->costs.native_ns, 1e5, 1e3);
  ASSERT_TRUE(PutBack(taken));
}

TEST_F(Entries, ThatLoseAreCounted) {
  RunAgain(kMany);  // the first slice behind a verified one is a short one, and the original may be measured next to it
  region().costs.entries_seen = 5;
  region().probe_again_ns = 1e300;
  for (int i = 0; i < 3; ++i) {
    region().costs.native_ns = 0.06;   // which nothing beats
    region().costs.variant_ns = 0.06;  // so one slice does it all, and the original is not measured again
    RunAgain(kMany);
  }
  EXPECT_TRUE(region().losses.Loses(0.06 * kMany)) << Explain(taken_);
}

}  // namespace
}  // namespace tracelift::offload

// What entries count for: what they bring, and sizes that lose.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/offload/random_data.h"
#include "tests/offload/taken_loop.h"

extern "C" void triad_O2(double*, const double*, const double*, double, size_t);

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
    while (region().trusted_slices < 2) RunAgain(kMany);
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
  region().entries_seen = 5;  // not one that measures
  region().probe_again_ns = 1e300;
  region().native_ns = pass_ns;
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

TEST_F(Entries, ThatLoseAreCounted) {
  region().entries_seen = 5;
  region().probe_again_ns = 1e300;
  for (int i = 0; i < 3; ++i) {
    region().native_ns = 0.06;  // which nothing beats
    RunAgain(kMany);
  }
  EXPECT_TRUE(region().losses.Loses(0.06 * kMany)) << Explain(taken_);
}

}  // namespace
}  // namespace tracelift::offload

// When a patched region may stay, by what it brings and costs.

#include "offload/runtime/upkeep.h"

#include <gtest/gtest.h>

#include "offload/host/losses.h"

namespace tracelift::offload {
namespace {

constexpr int64_t kMs = 1'000'000;  // in ns

TEST(Upkeep, LetsARegionStayThatNobodyReaches) {
  Upkeep upkeep;
  upkeep.Open({.now_ms = 100, .gain_ns = -7 * kMs, .arrivals = 50});
  for (double now = 100; now < 10'000; now += 5) EXPECT_TRUE(upkeep.MayStay({now, -7 * kMs, 50}, false));
  EXPECT_FALSE(upkeep.HasProved({10'000, -7 * kMs, 50}));
}

TEST(Upkeep, LetsARegionRestThatIsReachedAndSavesTooLittle) {
  Upkeep upkeep;
  upkeep.Open({});
  EXPECT_TRUE(upkeep.MayStay({29, kMs / 2, 1}, false)) << "the window is still open";
  EXPECT_FALSE(upkeep.MayStay({31, kMs / 2, 1}, false));
}

TEST(Upkeep, KeepsWhatSavesAShareOfEachWindow) {
  Upkeep upkeep;
  upkeep.Open({});
  int64_t gain = 0;
  for (double now = 31; now < 1000; now += 31) EXPECT_TRUE(upkeep.MayStay({now, gain += 2 * kMs, 10}, false));
  EXPECT_TRUE(upkeep.HasProved({1000, gain, 10}));
}

TEST(Upkeep, CountsWhatEachArrivalCosts) {
  Upkeep upkeep;
  upkeep.Open({});
  EXPECT_TRUE(upkeep.MayStay({2, 0, 90'000}, false));
  EXPECT_FALSE(upkeep.MayStay({2, 0, 110'000}, false)) << "at once, not only at the end of the window";
  EXPECT_TRUE(upkeep.MayStay({2, kMs, 110'000}, false)) << "unless it brings more";
}

TEST(Upkeep, JudgesSmallEntriesTogetherWithTheLargeOnesBeforeThem) {
  Upkeep upkeep;
  upkeep.Open({});
  EXPECT_TRUE(upkeep.MayStay({31, 10 * kMs, 10}, false));
  EXPECT_TRUE(upkeep.MayStay({50, 8 * kMs, 500}, false)) << "2 ms lost of 10";
  EXPECT_TRUE(upkeep.MayStay({62, 8 * kMs, 500}, false));
  EXPECT_FALSE(upkeep.MayStay({80, 2 * kMs, 900}, false)) << "more than what is left of it lost";
}

TEST(Upkeep, JudgesNobodyWhoIsStillInside) {
  Upkeep upkeep;
  upkeep.Open({});
  EXPECT_TRUE(upkeep.MayStay({500, 0, 1}, true));
  EXPECT_TRUE(upkeep.MayStay({501, 100 * kMs, 1}, false)) << "what it saved in there counts when it comes out";
}

TEST(Upkeep, LetsRestLongerEachTimeInARow) {
  Upkeep upkeep;
  upkeep.Open({});
  const Tally small_loss{.now_ms = 1, .gain_ns = 0, .arrivals = 1000};
  const double first = upkeep.NextRestMs(small_loss);
  EXPECT_GE(first, 50);
  EXPECT_DOUBLE_EQ(upkeep.NextRestMs(small_loss), 2 * first);
  EXPECT_DOUBLE_EQ(upkeep.NextRestMs(small_loss), 4 * first);
  EXPECT_EQ(upkeep.rests(), 3);
  EXPECT_TRUE(upkeep.MayStay({40, 20 * kMs, 1000}, false));
  EXPECT_EQ(upkeep.rests(), 0) << "it won again";
}

TEST(Upkeep, LetsLossesBeASmallShareOfTheTime) {
  Upkeep upkeep;
  upkeep.Open({});
  const double lost_ms = 20;
  EXPECT_GE(upkeep.NextRestMs({5, -static_cast<int64_t>(lost_ms) * kMs, 0}), 40 * lost_ms);
}

TEST(Upkeep, LetsPhasesLoseLessThanOthersEarned) {
  Upkeep upkeep;
  upkeep.Open({});
  int64_t gain = 0;
  double now = 0;
  uint64_t arrivals = 0;
  for (int round = 0; round < 20; ++round) {
    EXPECT_TRUE(upkeep.MayStay({now += 31, gain += 20 * kMs, ++arrivals}, false)) << round;
    EXPECT_TRUE(upkeep.MayStay({now += 1, gain -= 2 * kMs, ++arrivals}, false)) << round;
    EXPECT_TRUE(upkeep.MayStay({now += 31, gain, ++arrivals}, false)) << round;
  }
}

TEST(Upkeep, LetsARegionRestThatHasLostWhatItEarned) {
  Upkeep upkeep;
  upkeep.Open({});
  int64_t gain = 0;
  double now = 0;
  uint64_t arrivals = 0;
  for (int window = 0; window < 100; ++window) ASSERT_TRUE(upkeep.MayStay({now += 31, gain += 20 * kMs, ++arrivals}, false));
  const int64_t most = gain;
  while (upkeep.MayStay({now += 5, gain -= 2 * kMs, ++arrivals}, false)) ASSERT_GT(gain, most - 100 * kMs);
  (void)upkeep.NextRestMs({now, gain, arrivals});
  upkeep.Open({now, gain, arrivals});
  EXPECT_FALSE(upkeep.MayStay({now + 5, gain - kMs, ++arrivals}, false)) << "nothing of it is left";
}

TEST(Upkeep, ForgetsThatARegionProvedWhenItHasToRest) {
  Upkeep upkeep;
  upkeep.Open({});
  EXPECT_TRUE(upkeep.MayStay({31, 20 * kMs, 1}, false));
  EXPECT_TRUE(upkeep.HasProved({32, 20 * kMs, 1}));
  (void)upkeep.NextRestMs({62, 20 * kMs, 2});
  EXPECT_FALSE(upkeep.HasProved({62, 20 * kMs, 2}));
}

TEST(LossesBySize, TellsSizesApart) {
  LossesBySize losses;
  for (int i = 0; i < 3; ++i) losses.Add(30e3, true);
  EXPECT_TRUE(losses.Loses(30e3));
  EXPECT_TRUE(losses.Loses(32e3));
  EXPECT_FALSE(losses.Loses(300e3));
  EXPECT_FALSE(losses.Loses(30e3, 100)) << "fewer and longer passes";
  losses.Add(32e3, false);
  EXPECT_FALSE(losses.Loses(30e3)) << "not in a row any more";
}

TEST(LossesBySize, ForgivesAll) {
  LossesBySize losses;
  for (int i = 0; i < 300; ++i) losses.Add(1e9, true);
  EXPECT_TRUE(losses.Loses(1e9));
  losses.Forgive();
  EXPECT_FALSE(losses.Loses(1e9));
}

TEST(LossesBySize, TakesAnySize) {
  LossesBySize losses;
  for (const double size : {0.0, 0.5, 1.0, 1e15, 1e300}) {
    EXPECT_FALSE(losses.Loses(size));
    losses.Add(size, true);
  }
}

}  // namespace
}  // namespace tracelift::offload

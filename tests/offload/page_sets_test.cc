// Sets of pages against the plainest there are.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "offload/device/away_map.h"
#include "offload/device/page_set.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kBegin = 0x7f0000003000;

TEST(PageSet, HasWhatWasAddedAndNotRemoved) {
  constexpr size_t kFewRanges = 10;  // there is room for them, whatever is added and removed
  int rounds_with_few = 0;
  std::mt19937 random(1);
  const auto some = [&](uint64_t most) { return random() % most; };
  for (int round = 0; round < 300; ++round) {
    PageSet pages;
    std::set<uint64_t> expected;
    bool exact = true;
    size_t most_runs = 0;
    for (int step = 0; step < 40; ++step) {
      const uint64_t first = some(60), count = 1 + some(8);
      const PageRange range{kBegin + first * kPageBytes, kBegin + (first + count) * kPageBytes};
      if (some(3) > 0) {
        pages.Add(range);
        for (uint64_t i = 0; i < count; ++i) expected.insert(first + i);
      } else {
        pages.Remove(range);
        for (uint64_t i = 0; i < count; ++i) expected.erase(first + i);
      }
      size_t expected_runs = 0;
      for (const uint64_t page : expected) expected_runs += expected.contains(page + 1) ? 0 : 1;
      most_runs = std::max(most_runs, expected_runs);
      std::set<uint64_t> runs;  // as ForEachIn has them
      pages.ForEachIn({kBegin, kBegin + 80 * kPageBytes}, [&](PageRange part) {
        for (uint64_t at = part.begin; at < part.end; at += kPageBytes) runs.insert((at - kBegin) / kPageBytes);
      });
      for (uint64_t page = 0; page < 70; ++page) {
        const bool has = pages.Has(kBegin + page * kPageBytes);
        EXPECT_EQ(has, runs.contains(page));
        EXPECT_TRUE(has || !expected.contains(page)) << "never less";
        exact &= has == expected.contains(page);
      }
    }
    EXPECT_TRUE(exact || most_runs > kFewRanges);
    rounds_with_few += most_runs <= kFewRanges;
  }
  EXPECT_GT(rounds_with_few, 100);
}

TEST(PageSet, HasMoreWhereThereAreTooManyRanges) {
  PageSet pages;
  for (uint64_t i = 0; i < 100; ++i) pages.Add({kBegin + 2 * i * kPageBytes, kBegin + (2 * i + 1) * kPageBytes});
  for (uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(pages.Has(kBegin + 2 * i * kPageBytes));
  pages.Remove({kBegin, kBegin + 200 * kPageBytes});
  EXPECT_TRUE(pages.IsEmpty());
}

TEST(AwayMap, TakesWholeGranulesOnly) {
  const PageRange granules = AwayMap::GranulesIn(kBegin, kBegin + 3 * kGranuleBytes);
  EXPECT_EQ(granules.begin % kGranuleBytes, 0u);
  EXPECT_EQ(granules.bytes(), 2 * kGranuleBytes);
  EXPECT_TRUE(AwayMap::GranulesIn(kBegin, kBegin + kGranuleBytes).IsEmpty());
  AwayMap map;
  EXPECT_FALSE(map.Cover({kBegin, kBegin + kGranuleBytes}));
  EXPECT_FALSE(map.IsAway(kBegin));
  EXPECT_EQ(map.RunAt(kBegin, kBegin + kPageBytes), (PageRange{kBegin, kBegin + kPageBytes}));
}

TEST(AwayMap, FindsRunsOfBothKinds) {
  std::mt19937 random(2);
  const auto some = [&](uint64_t most) { return random() % most; };
  for (int round = 0; round < 200; ++round) {
    const uint64_t count = 1 + some(300);
    const PageRange extent{kBegin, kBegin + (count + 2) * kGranuleBytes};
    const PageRange whole = AwayMap::GranulesIn(extent.begin, extent.end);
    AwayMap map;
    ASSERT_TRUE(map.Cover(extent));
    std::vector<bool> away(whole.bytes() / kGranuleBytes);
    for (int step = 0; step < 20; ++step) {
      const uint64_t first = some(away.size()), length = std::min<uint64_t>(1 + some(70), away.size() - first);
      const bool value = some(2) != 0;
      map.Set({whole.begin + first * kGranuleBytes, whole.begin + (first + length) * kGranuleBytes}, value);
      for (uint64_t i = first; i < first + length; ++i) away[i] = value;
    }
    ASSERT_TRUE(map.Cover(extent)) << "the same again changes nothing";
    const auto is_away = [&](uint64_t address) { return address >= whole.begin && address < whole.end && away[(address - whole.begin) / kGranuleBytes]; };
    uint64_t bytes = 0;
    for (uint64_t at = extent.begin; at < extent.end; at += kPageBytes) {
      ASSERT_EQ(map.IsAway(at), is_away(at));
      bytes += is_away(at) ? kPageBytes : 0;
    }
    EXPECT_EQ(map.away_bytes(), bytes);
    EXPECT_EQ(map.IsAnyAway(), bytes > 0);
    // Within any part: all of it, in order, each run as long as it can be.
    const uint64_t from = extent.begin + some(count) * kPageBytes, to = from + some(extent.bytes() / kPageBytes) * kPageBytes;
    const PageRange within = Meet({from, to}, extent);
    for (const bool kind : {false, true}) {
      uint64_t covered = 0, last = 0;
      map.ForEachRun(within, kind, [&](PageRange run) {
        EXPECT_GE(run.begin, within.begin);
        EXPECT_LE(run.end, within.end);
        EXPECT_TRUE(last == 0 || run.begin > last);
        for (uint64_t at = run.begin; at < run.end; at += kPageBytes) ASSERT_EQ(is_away(at), kind);
        covered += run.bytes();
        last = run.end;
      });
      uint64_t expected = 0;
      for (uint64_t at = within.begin; at < within.end; at += kPageBytes) expected += is_away(at) == kind ? kPageBytes : 0;
      EXPECT_EQ(covered, expected);
    }
    map.Drop();
    EXPECT_FALSE(map.IsAnyAway());
  }
}

}  // namespace
}  // namespace tracelift::offload

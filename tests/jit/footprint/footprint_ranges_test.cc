#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "jit/footprint.h"

namespace tracelift::jit {
namespace {

struct Piece {
  uint64_t low, high;
  bool write;
};

// Until the next call.
const Footprint& FootprintOf(const std::vector<Piece>& pieces) {
  static Footprint footprint;
  footprint.form_count = 0;
  for (const Piece& piece : pieces) {
    AccessForm& form = footprint.forms[footprint.form_count++];
    form = {};
    form.low = piece.low;
    form.high = piece.high;
    form.write = piece.write;
  }
  return footprint;
}

std::vector<ByteRange> Collected(const std::vector<Piece>& pieces, size_t room = 64) {
  const Footprint& footprint = FootprintOf(pieces);
  std::vector<ByteRange> out(room);
  out.resize(CollectRanges(footprint, out));
  return out;
}

std::string Text(const std::vector<ByteRange>& ranges) {
  std::string text;
  for (const ByteRange& r : ranges) {
    text += (r.write ? "w" : "r") + std::to_string(r.begin) + "-" + std::to_string(r.end) + " ";
  }
  return text;
}

TEST(Ranges, OfOneKindAreMergedWhereTheyTouch) {
  EXPECT_EQ(Text(Collected({{30, 40, false}, {10, 20, false}, {20, 25, false}, {12, 18, false}})), "r10-25 r30-40 ");
}

TEST(Ranges, WhatIsReadAndWrittenIsWritten) {
  EXPECT_EQ(Text(Collected({{10, 50, false}, {20, 30, true}})), "r10-20 w20-30 r30-50 ");
  EXPECT_EQ(Text(Collected({{20, 30, false}, {10, 50, true}})), "w10-50 ");
  EXPECT_EQ(Text(Collected({{10, 20, false}, {22, 30, false}, {15, 25, true}})), "r10-15 w15-25 r25-30 ");
}

TEST(Ranges, JoinTheClosestOfOneKindFirstWhenThereIsNoRoom) {
  const std::vector<Piece> pieces{{10, 20, false}, {25, 30, false}, {40, 50, false}, {51, 60, true}};
  EXPECT_EQ(Text(Collected(pieces, 3)), "r10-30 r40-50 w51-60 ");
  EXPECT_EQ(Text(Collected(pieces, 2)), "r10-50 w51-60 ");
  EXPECT_EQ(Text(Collected(pieces, 1)), "w10-60 ");
  EXPECT_EQ(Text(Collected(pieces, 0)), "");
}

TEST(Ranges, CoverEveryByteWithItsKind) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::vector<Piece> pieces(random() % 12);
    for (Piece& piece : pieces) {
      piece.low = random() % 60;
      piece.high = piece.low + 1 + random() % 12;
      piece.write = random() % 2 == 0;
    }
    const size_t room = 1 + random() % 16;
    const std::vector<ByteRange> ranges = Collected(pieces, room);
    ASSERT_LE(ranges.size(), room);
    int kind[80] = {};  // 1 read, 2 written
    for (const Piece& piece : pieces) {
      for (uint64_t b = piece.low; b < piece.high; ++b) kind[b] = std::max(kind[b], piece.write ? 2 : 1);
    }
    int got[80] = {};
    uint64_t last = 0;
    for (const ByteRange& r : ranges) {
      ASSERT_LT(r.begin, r.end);
      ASSERT_GE(r.begin, last) << "ascending";
      last = r.end;
      for (uint64_t b = r.begin; b < r.end; ++b) got[b] = r.write ? 2 : 1;
    }
    for (int b = 0; b < 80; ++b) {
      ASSERT_GE(got[b], kind[b]) << Text(ranges);
      // Enough room for all pieces: exactly what is touched.
      if (room >= 2 * pieces.size()) {
        ASSERT_EQ(got[b], kind[b]) << Text(ranges);
      }
    }
  }
}

std::string WindowAround(uint64_t base, ReadWindow readable, const std::vector<Piece>& pieces) {
  const Footprint& footprint = FootprintOf(pieces);
  const ReadWindow window = UnwrittenAround(base, readable, footprint);
  return std::to_string(window.begin) + "-" + std::to_string(window.end);
}

TEST(Windows, EndAtTheNextBytesThatAreWritten) {
  EXPECT_EQ(WindowAround(50, {10, 90}, {}), "10-90");
  EXPECT_EQ(WindowAround(50, {10, 90}, {{40, 60, false}}), "10-90");
  EXPECT_EQ(WindowAround(50, {10, 90}, {{20, 30, true}, {60, 70, true}, {12, 14, true}, {80, 95, true}}), "30-60");
  EXPECT_EQ(WindowAround(50, {10, 90}, {{20, 50, true}}), "50-90");
  EXPECT_EQ(WindowAround(50, {10, 90}, {{51, 52, true}}), "10-51");
  EXPECT_EQ(WindowAround(50, {10, 90}, {{0, 5, true}, {95, 99, true}}), "10-90");
}

TEST(Windows, AreEmptyWhereTheBaseIsWrittenOrNotReadable) {
  EXPECT_EQ(WindowAround(50, {10, 90}, {{50, 51, true}}), "0-0");
  EXPECT_EQ(WindowAround(50, {10, 90}, {{40, 51, true}}), "0-0");
  EXPECT_EQ(WindowAround(5, {10, 90}, {}), "0-0");
  EXPECT_EQ(WindowAround(90, {10, 90}, {}), "0-0");
  EXPECT_EQ(WindowAround(5, {}, {}), "0-0");
}

}  // namespace
}  // namespace tracelift::jit

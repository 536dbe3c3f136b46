// Against what really happens: every iteration of every pass in the order of both, compared byte by byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "jit/footprint.h"

namespace tracelift::jit {
namespace {

struct TestAccess {
  bool write = false;
  uint8_t place = kWithinInner;
  int64_t base = 0, by_pass = 0, by_iteration = 0;
  uint32_t bytes = 1;
  int64_t odd_base =
      0;  // of odd passes, where these are a phase of their own; by_pass is the distance of two passes then
};

struct Nest {
  int64_t passes = 1, length = 1;
  std::vector<TestAccess> accesses;
  int phases = 1;

  int64_t Address(const TestAccess& access, int64_t pass, int64_t iteration) const {
    const int64_t base = pass % phases == 0 ? access.base : access.odd_base;
    const int64_t by_iteration = access.place == kWithinInner ? access.by_iteration : 0;
    return base + access.by_pass * (pass / phases) + by_iteration * iteration;
  }
};

struct Question {
  std::unique_ptr<Footprint> footprint = std::make_unique<Footprint>();
  FootprintProgram program;
  Wavefront wavefront;
};

Question QuestionOf(const Nest& nest, int lanes, int skew, bool reads_first = false) {
  Question question;
  question.program.loops.resize(2);
  question.program.accesses.resize(nest.accesses.size());
  question.wavefront = {.lanes = lanes, .skew = skew, .loop = 1, .places = {}, .handed_on = {}, .reads_first = reads_first};
  Footprint& footprint = *question.footprint;
  footprint.loop_count = 2;
  footprint.phases = nest.phases;
  std::ranges::fill(footprint.trip, 1);
  footprint.trip[0] = nest.passes;
  footprint.trip[1] = nest.length;
  for (int phase = 0; phase < nest.phases; ++phase) {
    footprint.phase_trip[phase][0] = (nest.passes - phase + nest.phases - 1) / nest.phases;
    footprint.phase_trip[phase][1] = nest.length;
    uint16_t number = 0;
    for (const TestAccess& access : nest.accesses) {
      AccessForm& form = footprint.forms[footprint.form_count++];
      form.access = number++;
      form.phase = static_cast<uint8_t>(phase);
      form.base = static_cast<uint64_t>(1'000'000 + (phase == 0 ? access.base : access.odd_base));
      form.bytes = access.bytes;
      form.write = access.write;
      form.stride[0] = access.by_pass;
      form.stride[1] = access.place == kWithinInner ? access.by_iteration : 0;
      form.low = form.base;
      form.high = form.base + access.bytes;
      for (const int loop : {0, 1}) {
        const int64_t reach = form.stride[static_cast<size_t>(loop)] * (footprint.TripOf(form, loop) - 1);
        (reach < 0 ? form.low : form.high) += static_cast<uint64_t>(reach);
      }
    }
  }
  for (const TestAccess& access : nest.accesses) question.wavefront.places.push_back(access.place);
  return question;
}

bool SaysInOrder(const Nest& nest, int lanes, int skew, bool reads_first = false) {
  const Question question = QuestionOf(nest, lanes, skew, reads_first);
  return CheckWavefront(question.program, *question.footprint, question.wavefront).verdict ==
         Independence::kIndependent;
}

// All pairs of touches of a byte, of which one writes, by passes of one group: those of the earlier pass come in an
// earlier step.
bool IsInOrder(const Nest& nest, int lanes, int skew, bool reads_first = false) {
  struct Touch {
    int64_t pass, iteration;
    bool write, within;
  };
  std::map<int64_t, std::vector<Touch>> touched;
  for (const TestAccess& access : nest.accesses) {
    for (int64_t pass = 0; pass < nest.passes; ++pass) {
      const bool within = access.place == kWithinInner;
      const int64_t first = access.place == kBehindInner ? nest.length - 1 : 0;
      const int64_t last = within ? nest.length - 1 : first;
      for (int64_t iteration = first; iteration <= last; ++iteration) {
        const int64_t address = nest.Address(access, pass, iteration);
        for (int64_t byte = address; byte < address + access.bytes; ++byte)
          touched[byte].push_back({pass, iteration, access.write, within});
      }
    }
  }
  for (const auto& [byte, touches] : touched) {
    for (const Touch& a : touches) {
      for (const Touch& b : touches) {
        const int64_t distance = b.pass - a.pass;
        if (distance < 1 || distance >= lanes || !(a.write || b.write)) continue;
        const bool in_time = reads_first && a.within && b.within && !a.write;
        if (a.iteration >= b.iteration + distance * skew + (in_time ? 1 : 0)) return false;
      }
    }
  }
  return true;
}

TEST(Wavefront, FivePointsNeedASkewOfOneAndNinePointsOfTwo) {
  Nest nest{100,
            50,
            {{true, kWithinInner, 61, 60, 1},
             {false, kWithinInner, 1, 60, 1},
             {false, kWithinInner, 60, 60, 1},
             {false, kWithinInner, 62, 60, 1},
             {false, kWithinInner, 121, 60, 1}}};
  EXPECT_TRUE(SaysInOrder(nest, 16, 1));
  nest.accesses.push_back({false, kWithinInner, 2, 60, 1});
  EXPECT_FALSE(SaysInOrder(nest, 16, 1));
  EXPECT_TRUE(SaysInOrder(nest, 16, 2));
}

TEST(Wavefront, ARowOfAllPassesIsWrittenTooSoon) {
  // A row that all passes share.
  const Nest nest{40, 50, {{true, kWithinInner, 0, 0, 1}, {false, kWithinInner, 1, 0, 1}}};
  EXPECT_FALSE(SaysInOrder(nest, 8, 1));
  EXPECT_EQ(SaysInOrder(nest, 8, 2), IsInOrder(nest, 8, 2));
}

template <typename Any>
Nest AnyNest(const Any& any, int phases) {
  Nest nest{any(phases, 7), any(1, 9), {}, phases};
  const int64_t row = any(-14, 14), step = any(-3, 3);
  for (int64_t count = any(1, 4); count > 0; --count) {
    const bool alike = any(0, 3) > 0;
    nest.accesses.push_back({.write = any(0, 1) == 0,
                             .place = static_cast<uint8_t>(any(0, 2) > 0 ? kWithinInner : 1 << any(0, 2)),
                             .base = any(-20, 20),
                             .by_pass = alike ? row : any(-14, 14),
                             .by_iteration = alike ? step : any(-3, 3),
                             .bytes = static_cast<uint32_t>(any(1, 3)),
                             .odd_base = any(-20, 20)});
  }
  return nest;
}

TEST(Wavefront, AgreesWithEveryIterationInOrder) {
  std::mt19937 random(7);
  const auto any = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  for (const int phases : {1, 2}) {
    int in_order = 0, swapped = 0;
    for (int round = 0; round < 60'000; ++round) {
      const Nest nest = AnyNest(any, phases);
      const int lanes = static_cast<int>(any(2, 8)), skew = static_cast<int>(any(1, 3));
      const bool reads_first = any(0, 1) == 0;
      const bool right = IsInOrder(nest, lanes, skew, reads_first);
      ASSERT_EQ(SaysInOrder(nest, lanes, skew, reads_first), right) << "round " << round << " of " << phases << " phases";
      ++(right ? in_order : swapped);
    }
    EXPECT_GT(in_order, 10'000);
    EXPECT_GT(swapped, 10'000);
  }
}

TEST(Wavefront, RowsThatTakeTurnsNeedReadsFirstOrASkewOfTwo) {
  // Row 0 and row 100; read at j and j - 1, written at j.
  const Nest nest{40,
                  50,
                  {{true, kWithinInner, 101, 0, 1, 1, 1},
                   {false, kWithinInner, 1, 0, 1, 1, 101},
                   {false, kWithinInner, 0, 0, 1, 1, 100}},
                  2};
  EXPECT_FALSE(SaysInOrder(nest, 8, 1));
  EXPECT_TRUE(SaysInOrder(nest, 8, 1, /*reads_first=*/true));
  EXPECT_TRUE(SaysInOrder(nest, 8, 2));
  const Question question = QuestionOf(nest, 8, 2);
  const auto handed = [&](uint8_t read, int steps) {
    return IsHandedOn(question.program, *question.footprint, question.wavefront,
                      {.read = read, .written = 0, .read_offset = 0, .written_offset = 0, .bytes = 1, .steps = steps});
  };
  EXPECT_TRUE(handed(1, 2));
  EXPECT_FALSE(handed(1, 1));
  EXPECT_FALSE(handed(2, 2));
  EXPECT_TRUE(handed(2, 3));
}

// Accesses in the order of the list, all bytes of the read in each pass but the first.
bool IsHanded(const Nest& nest, int skew, const HandedOn& handed) {
  const int64_t ahead = skew - handed.steps;
  struct Writer {
    size_t access;
    int64_t pass, iteration, byte;
    bool operator==(const Writer&) const = default;
  };
  std::map<int64_t, Writer> last;
  for (int64_t pass = 0; pass < nest.passes; ++pass) {
    for (const uint8_t place : {kAheadOfInner, kWithinInner, kBehindInner}) {
      for (int64_t iteration = 0; iteration < (place == kWithinInner ? nest.length : 1); ++iteration) {
        for (size_t i = 0; i < nest.accesses.size(); ++i) {
          const TestAccess& access = nest.accesses[i];
          if (access.place != place) continue;
          const int64_t address = nest.Address(access, pass, iteration);
          for (int64_t byte = 0; byte < access.bytes; ++byte) {
            const bool looked_at =
                i == handed.read && byte >= handed.read_offset && byte < handed.read_offset + int64_t{handed.bytes};
            if (looked_at && pass > 0 && iteration + ahead < nest.length && iteration + ahead >= 0) {
              const Writer expected{handed.written, pass - 1, iteration + ahead,
                                    byte - handed.read_offset + handed.written_offset};
              const auto found = last.find(address + byte);
              if (found == last.end() || found->second != expected) return false;
            }
            if (access.write) last.insert_or_assign(address + byte, Writer{i, pass, iteration, byte});
          }
        }
      }
    }
  }
  return true;
}

TEST(Wavefront, WhatIsHandedOnIsWhatWasWrittenLast) {
  std::mt19937 random(8);
  const auto any = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  for (const int phases : {1, 2}) {
    int handed_on = 0, missed = 0, not_handed_on = 0;
    for (int round = 0; round < 60'000; ++round) {
      Nest nest = AnyNest(any, phases);
      nest.passes = std::max<int64_t>(nest.passes, 3);
      const int skew = static_cast<int>(any(1, 3));
      const auto steps = static_cast<int32_t>(any(1, skew + 1));
      // A write, and a read that fits to it more often than not.
      const int64_t row = any(-14, 14), step = any(1, 3) * (any(0, 1) ? 1 : -1), reach = (skew - steps) * step;
      const int64_t odd = phases == 2 ? any(-20, 20) : 0;
      TestAccess write{true, kWithinInner, any(-20, 20), row, step, static_cast<uint32_t>(any(1, 3)), odd};
      TestAccess read{false,       kWithinInner,      (phases == 2 ? odd : write.base) + reach - row, row, step,
                      write.bytes, write.base + reach};
      if (any(0, 4) == 0) read.base += any(-2, 2);
      nest.accesses.resize(static_cast<size_t>(any(0, 1)));
      nest.accesses.insert(nest.accesses.begin(), {read, write});
      const auto offset = static_cast<uint32_t>(any(0, write.bytes - 1));
      const HandedOn handed{.read = 0,
                            .written = 1,
                            .read_offset = offset,
                            .written_offset = offset,
                            .bytes = static_cast<uint32_t>(any(1, write.bytes - offset)),
                            .steps = steps};
      const Question question = QuestionOf(nest, 4, skew);
      const bool said = IsHandedOn(question.program, *question.footprint, question.wavefront, handed);
      const bool right = IsHanded(nest, skew, handed);
      if (said) {
        ASSERT_TRUE(right) << "round " << round << " of " << phases << " phases";
      }
      ++(said ? handed_on : right ? missed : not_handed_on);
    }
    EXPECT_GT(handed_on, 1'000);
    EXPECT_LT(missed, handed_on);  // what is looked at by range only
    EXPECT_GT(not_handed_on, 1'000);
  }
}

}  // namespace
}  // namespace tracelift::jit

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
};

struct Nest {
  int64_t passes = 1, length = 1;
  std::vector<TestAccess> accesses;
};

bool SaysInOrder(const Nest& nest, int lanes, int skew) {
  auto footprint = std::make_unique<Footprint>();
  FootprintProgram program;
  program.loops.resize(2);
  program.accesses.resize(nest.accesses.size());
  Wavefront wavefront{.lanes = lanes, .skew = skew, .loop = 1, .places = {}};
  footprint->loop_count = 2;
  std::ranges::fill(footprint->trip, 1);
  footprint->trip[0] = nest.passes;
  footprint->trip[1] = nest.length;
  for (const TestAccess& access : nest.accesses) {
    AccessForm& form = footprint->forms[footprint->form_count];
    form.access = static_cast<uint16_t>(footprint->form_count++);
    form.base = static_cast<uint64_t>(1'000'000 + access.base);
    form.bytes = access.bytes;
    form.write = access.write;
    form.stride[0] = access.by_pass;
    form.stride[1] = access.place == kWithinInner ? access.by_iteration : 0;
    form.low = form.base;
    form.high = form.base + access.bytes;
    for (const int loop : {0, 1}) {
      const int64_t reach = form.stride[static_cast<size_t>(loop)] * (footprint->trip[loop] - 1);
      (reach < 0 ? form.low : form.high) += static_cast<uint64_t>(reach);
    }
    wavefront.places.push_back(access.place);
  }
  return CheckWavefront(program, *footprint, wavefront).verdict == Independence::kIndependent;
}

// All pairs of touches of a byte, of which one writes, by passes of one group: those of the earlier pass come in an
// earlier step.
bool IsInOrder(const Nest& nest, int lanes, int skew) {
  struct Touch {
    int64_t pass, iteration;
    bool write;
  };
  std::map<int64_t, std::vector<Touch>> touched;
  for (const TestAccess& access : nest.accesses) {
    for (int64_t pass = 0; pass < nest.passes; ++pass) {
      const bool within = access.place == kWithinInner;
      const int64_t first = access.place == kBehindInner ? nest.length - 1 : 0;
      const int64_t last = within ? nest.length - 1 : first;
      for (int64_t iteration = first; iteration <= last; ++iteration) {
        const int64_t address = access.base + access.by_pass * pass + (within ? access.by_iteration * iteration : 0);
        for (int64_t byte = address; byte < address + access.bytes; ++byte)
          touched[byte].push_back({pass, iteration, access.write});
      }
    }
  }
  for (const auto& [byte, touches] : touched) {
    for (const Touch& a : touches) {
      for (const Touch& b : touches) {
        const int64_t distance = b.pass - a.pass;
        if (distance < 1 || distance >= lanes || !(a.write || b.write)) continue;
        if (a.iteration >= b.iteration + distance * skew) return false;
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

TEST(Wavefront, RowsThatAlternateAreWrittenTooSoon) {
  // Two rows taken in turn look like no affine access; a row that all passes share is worse.
  const Nest nest{40, 50, {{true, kWithinInner, 0, 0, 1}, {false, kWithinInner, 1, 0, 1}}};
  EXPECT_FALSE(SaysInOrder(nest, 8, 1));
  EXPECT_EQ(SaysInOrder(nest, 8, 2), IsInOrder(nest, 8, 2));
}

TEST(Wavefront, AgreesWithEveryIterationInOrder) {
  std::mt19937 random(7);
  const auto any = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  int in_order = 0, swapped = 0;
  for (int round = 0; round < 60'000; ++round) {
    Nest nest{any(1, 7), any(1, 9), {}};
    const int64_t row = any(-14, 14), step = any(-3, 3);
    for (int64_t count = any(1, 4); count > 0; --count) {
      const bool alike = any(0, 3) > 0;
      nest.accesses.push_back({.write = any(0, 1) == 0,
                               .place = static_cast<uint8_t>(any(0, 2) > 0 ? kWithinInner : 1 << any(0, 2)),
                               .base = any(-20, 20),
                               .by_pass = alike ? row : any(-14, 14),
                               .by_iteration = alike ? step : any(-3, 3),
                               .bytes = static_cast<uint32_t>(any(1, 3))});
    }
    const int lanes = static_cast<int>(any(2, 8)), skew = static_cast<int>(any(1, 3));
    const bool right = IsInOrder(nest, lanes, skew);
    ASSERT_EQ(SaysInOrder(nest, lanes, skew), right) << "round " << round;
    ++(right ? in_order : swapped);
  }
  EXPECT_GT(in_order, 10'000);
  EXPECT_GT(swapped, 10'000);
}

}  // namespace
}  // namespace tracelift::jit

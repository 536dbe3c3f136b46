// Nests whose passes depend on each other and run staggered in the lanes of vectors: the same bytes as natively.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <limits>

#include "tests/offload/kernel_builds.h"
#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define KERNELS(X)                                                                                               \
  X(nine_points)                                                                                                 \
  X(five_points)                                                                                                 \
  X(floats)                                                                                                      \
  X(ahead) X(far_ahead) X(two_above) X(below) X(backwards) X(mirrored) X(upwards) X(columns) X(borders) X(snake) \
      X(overlapping) X(distance) X(alignment) X(sometimes) X(divisions) X(bytes) X(turns) X(turns_floats)        \
          X(turns_in_place) X(turns_overlapping) X(turns_alone) X(checked) X(best)

#define DECLARE(name, build) void wave_##name##_##build(double*, const double*, int, int);
#define DECLARE_ALL(name) BUILDS(DECLARE, name)
extern "C" {
KERNELS(DECLARE_ALL)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, const double*, int, int);

struct Build {
  const char* name;
  Kernel kernel;
};
#define ENTRY(name, build) {#build, &wave_##name##_##build},
#define DEFINE_BUILDS(name) const std::vector<Build> k_##name{BUILDS(ENTRY, name)};
KERNELS(DEFINE_BUILDS)

enum class Staggered {
  kYes,  // from -O1 on
  kNo,
  kPerhaps,
};

constexpr int kRows = 203, kLength = 331;  // no multiples of any number of lanes
constexpr size_t kTable = size_t{kRows} * kLength;

// Twice the table: what is read beside it lies behind.
void Check(const std::vector<Build>& builds, Staggered staggered, const std::vector<double>& data, int rows = kRows) {
  for (const Build& build : builds) {
    SCOPED_TRACE(build.name);
    const Kernel kernel = build.kernel;
    const auto run = [=](std::vector<double>& v) { kernel(v.data(), v.data() + v.size() / 2, rows, kLength); };
    const TakenLoop first = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] {
      std::vector<double> copy = data;
      run(copy);
    });
    const bool optimised = !std::string_view(build.name).ends_with("O0");
    const int lanes = first.region ? first.variant->artifact.reliance.wavefront.lanes : 0;
    if (staggered == Staggered::kYes && optimised) {
      ASSERT_NE(first.region, nullptr) << first.why;
      EXPECT_GT(lanes, 1) << Explain(first);
    }
    if (staggered == Staggered::kNo) {
      EXPECT_EQ(lanes, 0);
    }
    if (first.region) {
      ASSERT_TRUE(PutBack(first));
    }
    ExpectSame<double>(reinterpret_cast<const void*>(kernel), data, run,
                       lanes > 0 && rows == kRows ? Becomes::kAccelerated : Becomes::kPerhaps);
  }
}

std::vector<double> Data(size_t elements = 2 * kTable) { return RandomDoubles(elements); }

// For kernels that take them for something else.
template <typename T>
std::vector<double> As(const std::vector<T>& values) {
  std::vector<double> data(values.size() * sizeof(T) / sizeof(double));
  std::memcpy(data.data(), values.data(), data.size() * sizeof(double));
  return data;
}

TEST(Wavefront, NinePoints) { Check(k_nine_points, Staggered::kYes, Data()); }
TEST(Wavefront, FivePoints) { Check(k_five_points, Staggered::kYes, Data()); }
TEST(Wavefront, Floats) { Check(k_floats, Staggered::kYes, As(RandomFloats(4 * kTable))); }
TEST(Wavefront, ReadsAhead) { Check(k_ahead, Staggered::kYes, Data()); }
TEST(Wavefront, ReadsTooFarAhead) { Check(k_far_ahead, Staggered::kNo, Data()); }
TEST(Wavefront, ReadsTwoRowsAbove) { Check(k_two_above, Staggered::kYes, Data()); }
TEST(Wavefront, ReadsBelow) { Check(k_below, Staggered::kYes, Data()); }
TEST(Wavefront, Backwards) { Check(k_backwards, Staggered::kYes, Data()); }
TEST(Wavefront, Mirrored) { Check(k_mirrored, Staggered::kYes, Data()); }
TEST(Wavefront, Upwards) { Check(k_upwards, Staggered::kYes, Data()); }
TEST(Wavefront, Columns) { Check(k_columns, Staggered::kPerhaps, Data()); }
TEST(Wavefront, Borders) { Check(k_borders, Staggered::kYes, Data()); }
TEST(Wavefront, RowsInASnake) { Check(k_snake, Staggered::kNo, Data()); }
TEST(Wavefront, OverlappingRows) { Check(k_overlapping, Staggered::kNo, Data()); }
TEST(Wavefront, Distance) { Check(k_distance, Staggered::kPerhaps, As(RandomBytes(16 * kTable))); }
TEST(Wavefront, Alignment) { Check(k_alignment, Staggered::kPerhaps, As(RandomBytes(16 * kTable))); }
TEST(Wavefront, SometimesStores) { Check(k_sometimes, Staggered::kPerhaps, Data()); }
TEST(Wavefront, Divisions) { Check(k_divisions, Staggered::kPerhaps, As(RandomCounts(4 * kTable))); }
TEST(Wavefront, Bytes) { Check(k_bytes, Staggered::kPerhaps, As(RandomBytes(16 * kTable))); }

TEST(Wavefront, RowsThatTakeTurns) { Check(k_turns, Staggered::kPerhaps, As(RandomBytes(16 * kTable))); }
TEST(Wavefront, FloatsThatTakeTurns) { Check(k_turns_floats, Staggered::kPerhaps, Data()); }
TEST(Wavefront, RowsThatTakeTurnsInPlace) { Check(k_turns_in_place, Staggered::kPerhaps, Data()); }
TEST(Wavefront, RowsThatTakeTurnsAndOverlap) { Check(k_turns_overlapping, Staggered::kPerhaps, Data()); }
TEST(Wavefront, RowsThatTakeTurnsAlone) { Check(k_turns_alone, Staggered::kPerhaps, Data()); }
TEST(Wavefront, SumsBesideTheTable) { Check(k_checked, Staggered::kPerhaps, As(RandomCounts(4 * kTable))); }
TEST(Wavefront, BestWithItsPlace) { Check(k_best, Staggered::kPerhaps, As(RandomBytes(16 * kTable))); }

// Groups that are just full, or one row short.
TEST(Wavefront, AnyNumberOfRows) {
  for (const int rows : {18, 33, 34, 35, 64, 66})
    Check(k_turns, Staggered::kPerhaps, As(RandomBytes(16 * kTable)), rows);
  for (const int rows : {18, 33, 34, 35, 64, 66}) Check(k_five_points, Staggered::kPerhaps, Data(), rows);
}

// Lanes that have not begun or are done touch nothing: there is no memory before the table and behind it.
TEST(Wavefront, TablesMayFillTheirPages) {
  constexpr size_t kPage = 4096;
  constexpr int n = 256, rows = 64;  // 32 pages
  constexpr size_t kBytes = sizeof(double) * n * rows;
  auto* memory = static_cast<std::byte*>(
      mmap(nullptr, kBytes + 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  ASSERT_EQ(mprotect(memory, kPage, PROT_NONE), 0);
  ASSERT_EQ(mprotect(memory + kPage + kBytes, kPage, PROT_NONE), 0);
  auto* table = reinterpret_cast<double*>(memory + kPage);
  const auto check = [&](const std::vector<Build>& builds, const std::vector<double>& data) {
    for (const Build& build : builds) {
      SCOPED_TRACE(build.name);
      const Kernel kernel = build.kernel;
      ExpectSame<double>(
          reinterpret_cast<const void*>(kernel), data,
          [=](std::vector<double>& v) {
            std::memcpy(table, v.data(), kBytes);
            kernel(table, v.data() + size_t{n} * rows, rows, n);
            std::memcpy(v.data(), table, kBytes);
          },
          Becomes::kPerhaps);
    }
  };
  const std::vector<double> data = Data(2 * n * rows);
  check(k_nine_points, data);
  check(k_backwards, data);
  check(k_upwards, data);
  check(k_columns, data);
  check(k_borders, data);
  check(k_floats, As(RandomFloats(4 * n * rows)));
  check(k_alignment, As(RandomBytes(16 * n * rows)));
  check(k_bytes, As(RandomBytes(16 * n * rows)));
  check(k_turns, As(RandomBytes(16 * n * rows)));
  check(k_turns_floats, data);
  check(k_best, As(RandomBytes(16 * n * rows)));
  munmap(memory, kBytes + 2 * kPage);
}

// What lies behind a NaN is the original's to decide.
TEST(Wavefront, NaNsAreRedone) {
  std::vector<double> data = Data();
  data[100 * kLength + 50] = std::numeric_limits<double>::infinity();
  data[100 * kLength + 52] = -std::numeric_limits<double>::infinity();
  data[150 * kLength + 7] = -std::numeric_limits<double>::quiet_NaN();
  for (const Build& build : k_nine_points) {
    SCOPED_TRACE(build.name);
    ExpectSame<double>(
        reinterpret_cast<const void*>(build.kernel), data,
        [&](std::vector<double>& v) { build.kernel(v.data(), v.data() + kTable, kRows, kLength); }, Becomes::kPerhaps);
  }
}

// What is read beside the table is compiled for as another array, or as the table itself at some distance; then it lies
// at other distances.
TEST(Wavefront, OrderIsCheckedAtEachEntry) {
  constexpr int kStart = 3000, kApart = static_cast<int>(kTable) - kStart;
  const std::vector<double> data = Data();
  const auto in_order = [](std::vector<double>& v, int further) {
    double* t = v.data() + kStart;
    const double* in = t + further;
    const int n = kLength;
    for (int i = 1; i < kRows - 1; i++) {
      for (int j = 1; j < n - 1; j++) {
        t[i * n + j] = 0.25 * (t[(i - 1) * n + j] + t[i * n + j - 1] + t[i * n + j + 1] + t[(i + 1) * n + j]) -
                       0.125 * in[i * n + j];
      }
    }
  };
  int staggered = 0;
  for (const Build& build : k_five_points) {
    SCOPED_TRACE(build.name);
    const auto run = [&](std::vector<double>& v, int further) {
      build.kernel(v.data() + kStart, v.data() + kStart + further, kRows, kLength);
    };
    for (const int compiled_for : {kApart, 2, -kLength}) {
      const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(build.kernel), [&] {
        std::vector<double> copy = data;
        run(copy, compiled_for);
      });
      if (!taken.region) continue;  // unoptimised, or not the loop over rows
      staggered += taken.variant->artifact.reliance.wavefront.lanes > 0 ? 1 : 0;
      for (const int further :
           {-1000, -662, -400, -332, -331, -330, -329, -300, -1, 0, 1, 2, 7, 330, 331, 332, 333, kApart}) {
        std::vector<double> traced = data, expected = data;
        for (int twice = 0; twice < 2; ++twice) {
          run(traced, further);
          in_order(expected, further);
        }
        EXPECT_EQ(std::memcmp(expected.data(), traced.data(), traced.size() * sizeof(double)), 0)
            << compiled_for << ", then " << further << ": " << Explain(taken);
      }
      EXPECT_EQ(taken.region->mismatches.load(), 0u) << compiled_for;  // verification is not what tells
      ASSERT_TRUE(PutBack(taken));
    }
  }
  EXPECT_GE(staggered, 9);
}

}  // namespace
}  // namespace tracelift::offload

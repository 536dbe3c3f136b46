// Passes with a small array of their own, tables of constants, and remainders in addresses: the same bytes as natively,
// also of the array behind the loop.

#include <gtest/gtest.h>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define DECLARE_LEVEL(level)                                                 \
  void small_lattice_##level(double*, const double*, int, int);              \
  void small_matrices_##level(double*, const double*, int, int);             \
  void small_ring_##level(double*, const double*, int, int);                 \
  void small_ring_unsigned_##level(double*, const double*, int, int);        \
  void small_ring_negative_##level(double*, const double*, int, int);        \
  void small_ring_in_place_##level(double*, const double*, int, int);        \
  void small_left_behind_##level(double*, const double*, int, int, double*); \
  void small_sometimes_##level(double*, const double*, int, int, double*);   \
  void small_carried_##level(double*, const double*, int, int, double*);     \
  void small_counts_##level(double*, const double*, int, int, double*);      \
  void small_two_ways_##level(double*, const double*, int, int, double*);
extern "C" {
DECLARE_LEVEL(O1)
DECLARE_LEVEL(O2)
DECLARE_LEVEL(O3)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, const double*, int, int);
using KernelWithArray = void (*)(double*, const double*, int, int, double*);

void Check(Kernel kernel, size_t doubles, int n, int by, Becomes becomes) {
  ExpectSame<double>(
      reinterpret_cast<const void*>(kernel), RandomDoubles(2 * doubles),
      [&](std::vector<double>& v) { kernel(v.data(), v.data() + doubles, n, by); }, becomes);
}

// The array lies behind the data, where it is compared with them.
void CheckWithArray(KernelWithArray kernel, int n, int by, Becomes becomes) {
  const auto doubles = static_cast<size_t>(n);
  std::vector<double> data = RandomDoubles(2 * doubles + 6);
  std::fill(data.end() - 6, data.end(), 0.0);
  ExpectSame<double>(
      reinterpret_cast<const void*>(kernel), data,
      [&](std::vector<double>& v) { kernel(v.data(), v.data() + doubles, n, by, v.data() + 2 * doubles); }, becomes);
}

#define AT_LEVELS(NAME, CHECK, AT_O1, AT_O2, AT_O3) \
  TEST(SmallArrays, NAME##O1) {                     \
    constexpr auto becomes = Becomes::AT_O1;        \
    CHECK(O1);                                      \
  }                                                 \
  TEST(SmallArrays, NAME##O2) {                     \
    constexpr auto becomes = Becomes::AT_O2;        \
    CHECK(O2);                                      \
  }                                                 \
  TEST(SmallArrays, NAME##O3) {                     \
    constexpr auto becomes = Becomes::AT_O3;        \
    CHECK(O3);                                      \
  }

#define LATTICE(level) Check(&small_lattice_##level, 5 * 200 * 200, 200, 0, becomes)
#define MATRICES(level) Check(&small_matrices_##level, 9 * 20'000, 9 * 20'000, 3, becomes)
#define RING(level) \
  for (int by : {1, 777, 99'999}) Check(&small_ring_##level, 100'000, 100'000, by, becomes)
#define RING_UNSIGNED(level) Check(&small_ring_unsigned_##level, 100'000, 100'000, 5, becomes)
#define RING_NEGATIVE(level) Check(&small_ring_negative_##level, 100'000, 100'000, 2, becomes)
#define RING_IN_PLACE(level) Check(&small_ring_in_place_##level, 100'000, 100'000, 3, becomes)
#define LEFT_BEHIND(level) CheckWithArray(&small_left_behind_##level, 50'000, 2, becomes)
#define SOMETIMES(level) \
  for (int by : {-2, 0, 2}) CheckWithArray(&small_sometimes_##level, 50'000, by, becomes)
#define CARRIED(level) CheckWithArray(&small_carried_##level, 50'000, 2, becomes)
#define TWO_WAYS(level) \
  for (int by : {-2, 0, 2}) CheckWithArray(&small_two_ways_##level, 50'000, by, becomes)
#define COUNTS(level) CheckWithArray(&small_counts_##level, 50'000, 3, becomes)

AT_LEVELS(Lattice, LATTICE, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(Matrices, MATRICES, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(Ring, RING, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(RingUnsigned, RING_UNSIGNED, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(RingNegative, RING_NEGATIVE, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(RingInPlace, RING_IN_PLACE, kAny, kAny, kAny)
AT_LEVELS(LeftBehind, LEFT_BEHIND, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(Sometimes, SOMETIMES, kAny, kAny, kPerhaps)
AT_LEVELS(Carried, CARRIED, kLeftAlone, kLeftAlone, kLeftAlone)
AT_LEVELS(TwoWays, TWO_WAYS, kAny, kAny, kAny)
AT_LEVELS(Counts, COUNTS, kAccelerated, kAccelerated, kAccelerated)

}  // namespace
}  // namespace tracelift::offload

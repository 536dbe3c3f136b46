// Loops whose passes must run in order, cut into columns that need not: the same bytes as natively, and really cut.

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define ALL(X)                                                                                                 \
  X(lower_solve) X(upper_solve) X(with_itself) X(past_itself) X(rows_backwards) X(solve_by_columns) X(column_sums) X(decay) X(words) X(floats) X(skewed)       \
      X(overlapping_rows) X(pivot_column) X(shift) X(knapsack) X(far_and_near) X(written_first) X(recurrence)
#define DECLARE(name)                                         \
  void ordered_##name##_O1(double*, const double*, int, int); \
  void ordered_##name##_O2(double*, const double*, int, int); \
  void ordered_##name##_O3(double*, const double*, int, int);
extern "C" {
ALL(DECLARE)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, const double*, int, int);

constexpr int kRows = 301, kColumns = 703;  // no multiple of any panel

// The matrix, then other data: a triangle whose diagonal is large enough that solutions stay small.
std::vector<double> Data() {
  std::vector<double> data = RandomDoubles(kRows * kColumns + kRows * kRows);
  for (size_t i = 0; i < kRows; ++i) data[kRows * kColumns + i * (kRows + 1)] = 1 + static_cast<double>(i);
  return data;
}

// Two in each double; few enough of them are below a tenth that sums stay finite.
std::vector<double> Floats() {
  const std::vector<float> floats = RandomFloats(2 * (kRows * kColumns + kRows * kRows));
  std::vector<double> data(floats.size() / 2);
  std::memcpy(data.data(), floats.data(), data.size() * sizeof(double));
  return data;
}

void Check(Kernel kernel, Becomes becomes, const std::vector<double>& data, int rows = kRows, int columns = kColumns) {
  const auto run = [=](std::vector<double>& v) { kernel(v.data(), v.data() + kRows * kColumns, rows, columns); };
  const TakenLoop first = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] {
    std::vector<double> copy = data;
    run(copy);
  });
  const bool in_order = becomes == Becomes::kAccelerated;
  if (in_order) {
    ASSERT_NE(first.region, nullptr) << first.why;
  }
  if (first.region != nullptr) {
    const jit::Artifact& artifact = first.variant->artifact;
    const bool cut = artifact.parts > 1 || artifact.reliance.reads_first;
    if (becomes != Becomes::kPerhaps) {
      EXPECT_EQ(cut, in_order);
    }
    ASSERT_TRUE(PutBack(first));
  }
  ExpectSame<double>(reinterpret_cast<const void*>(kernel), data, run, becomes);
}

#define AT_LEVELS(NAME, KERNEL, BECOMES1, BECOMES2, BECOMES3)                              \
  TEST(Ordered, NAME##O1) { Check(&ordered_##KERNEL##_O1, Becomes::BECOMES1, Data()); } \
  TEST(Ordered, NAME##O2) { Check(&ordered_##KERNEL##_O2, Becomes::BECOMES2, Data()); } \
  TEST(Ordered, NAME##O3) { Check(&ordered_##KERNEL##_O3, Becomes::BECOMES3, Data()); }

// At -O3 loops are many; at -O2 this one's rows have two entries.
TEST(Ordered, LowerSolveO1) { Check(&ordered_lower_solve_O1, Becomes::kAccelerated, Data()); }
TEST(Ordered, LowerSolveO3) { Check(&ordered_lower_solve_O3, Becomes::kPerhaps, Data()); }
AT_LEVELS(UpperSolve, upper_solve, kPerhaps, kPerhaps, kPerhaps)
AT_LEVELS(WithItself, with_itself, kAccelerated, kAccelerated, kPerhaps)
AT_LEVELS(PastItself, past_itself, kAccelerated, kAccelerated, kPerhaps)
AT_LEVELS(RowsBackwards, rows_backwards, kPerhaps, kAccelerated, kPerhaps)
AT_LEVELS(SolveByColumns, solve_by_columns, kAccelerated, kAccelerated, kPerhaps)
AT_LEVELS(ColumnSums, column_sums, kAccelerated, kAccelerated, kPerhaps)
AT_LEVELS(Decay, decay, kAccelerated, kAccelerated, kPerhaps)
AT_LEVELS(Words, words, kAccelerated, kAccelerated, kPerhaps)
TEST(Ordered, FloatsO1) { Check(&ordered_floats_O1, Becomes::kAccelerated, Floats()); }
TEST(Ordered, FloatsO2) { Check(&ordered_floats_O2, Becomes::kAccelerated, Floats()); }
AT_LEVELS(Skewed, skewed, kPerhaps, kPerhaps, kPerhaps)  // not columns, but wavefronts
AT_LEVELS(OverlappingRows, overlapping_rows, kPerhaps, kPerhaps, kPerhaps)
AT_LEVELS(PivotColumn, pivot_column, kPerhaps, kPerhaps, kPerhaps)

TEST(Ordered, ShiftO1) { Check(&ordered_shift_O1, Becomes::kAccelerated, Data()); }  // at -O2 it carries what it has read
AT_LEVELS(Knapsack, knapsack, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(WrittenFirst, written_first, kLeftAlone, kLeftAlone, kPerhaps)
AT_LEVELS(Recurrence, recurrence, kLeftAlone, kLeftAlone, kLeftAlone)
TEST(Ordered, FarAndNearO1) { Check(&ordered_far_and_near_O1, Becomes::kAccelerated, Floats()); }
TEST(Ordered, FarAndNearO2) { Check(&ordered_far_and_near_O2, Becomes::kAccelerated, Floats()); }
TEST(Ordered, FarAndNearO3) { Check(&ordered_far_and_near_O3, Becomes::kPerhaps, Floats()); }

// The whole slice is done again: what later passes did with the NaN, too.
TEST(Ordered, NaNsAreRedone) {
  std::vector<double> data = Data();
  data[200 * kColumns + 17] = std::numeric_limits<double>::quiet_NaN();
  data[240 * kColumns + 3] = std::numeric_limits<double>::infinity();
  for (Kernel kernel : {&ordered_lower_solve_O1, &ordered_column_sums_O2, &ordered_solve_by_columns_O2}) {
    ExpectSame<double>(
        reinterpret_cast<const void*>(kernel), data,
        [=](std::vector<double>& v) { kernel(v.data(), v.data() + kRows * kColumns, kRows, kColumns); }, Becomes::kAny);
  }
}

// Compiled for one length of rows, the code is asked about others.
TEST(Ordered, OtherLengths) {
  const std::vector<double> data = Data();
  std::vector<double> native = data, traced = data;
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&ordered_lower_solve_O1), [&] {
    std::vector<double> copy = data;
    ordered_lower_solve_O1(copy.data(), copy.data() + kRows * kColumns, kRows, kColumns);
  });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  ASSERT_TRUE(PutBack(taken));
  for (const int columns : {kColumns - 1, 64, 63, kColumns}) {
    native = traced = data;
    ordered_lower_solve_O1(native.data(), native.data() + kRows * kColumns, kRows, columns);
    ExpectSame<double>(
        reinterpret_cast<const void*>(&ordered_lower_solve_O1), data,
        [&](std::vector<double>& v) { ordered_lower_solve_O1(v.data(), v.data() + kRows * kColumns, kRows, columns); },
        Becomes::kPerhaps);
  }
}

}  // namespace
}  // namespace tracelift::offload

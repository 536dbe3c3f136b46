// Rows times rows and triangular nests: the same bytes as natively whatever the size and wherever they are entered, and
// in panels where they can be.

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define ALL(X)                                                                                                        \
  X(square)                                                                                                           \
  X(square_transposed) X(lower) X(lower_backwards) X(lower_strict) X(lower_added) X(upper) X(upper_added) X(mirrored) \
      X(feeds_itself) X(floats)
#define DECLARE(name)                                          \
  void triangle_##name##_O0(double*, const double*, int, int); \
  void triangle_##name##_O2(double*, const double*, int, int); \
  void triangle_##name##_O3(double*, const double*, int, int);
extern "C" {
ALL(DECLARE)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, const double*, int, int);

constexpr int kRows = 333, kLength = 151;  // no multiple of any panel or group
constexpr size_t kResults = kRows * kRows, kInputs = 2 * kRows * kLength + 4 * kRows;

std::vector<double> Data() {
  std::vector<double> data = RandomDoubles(kResults + kInputs);
  for (double& value : data) value *= 10;
  return data;
}

std::vector<double> Floats() {
  const std::vector<float> floats = RandomFloats(2 * (kResults + kInputs));
  std::vector<double> data(floats.size() / 2);
  std::memcpy(data.data(), floats.data(), data.size() * sizeof(double));
  return data;
}

void RunOn(Kernel kernel, std::vector<double>& data, int rows, int n) {
  kernel(data.data(), data.data() + kResults, rows, n);
}

enum class Cut { kPanels, kPerhaps };

// Compiled for one size; then all sizes run by that code or by the original, natively after it.
void Check(Kernel kernel, Cut cut, const std::vector<double>& data) {
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] {
    std::vector<double> copy = data;
    RunOn(kernel, copy, kRows, kLength);
  });
  if (cut == Cut::kPanels) {
    ASSERT_NE(taken.region, nullptr) << taken.why;
    EXPECT_GT(taken.variant->artifact.panel, 0);
    EXPECT_GT(taken.variant->artifact.packed, 0);
  }
  if (taken.region == nullptr) return;
  const std::vector<std::pair<int, int>> sizes = {{kRows, kLength}, {332, 151}, {329, 150}, {320, 1},  {64, 151},
                                                  {17, 100},        {9, 151},   {2, 5},     {331, 151}};
  std::vector<std::vector<double>> traced;
  for (const auto& [rows, n] : sizes) {
    traced.push_back(data);
    taken.Forgive();
    RunOn(kernel, traced.back(), rows, n);
  }
  if (cut == Cut::kPanels) {
    EXPECT_GT(taken.region->passes.load(), 0u) << Explain(taken);
  }
  ASSERT_TRUE(PutBack(taken));
  for (size_t i = 0; i < sizes.size(); ++i) {
    std::vector<double> native = data;
    RunOn(kernel, native, sizes[i].first, sizes[i].second);
    EXPECT_EQ(std::memcmp(native.data(), traced[i].data(), native.size() * sizeof(double)), 0)
        << sizes[i].first << " rows of " << sizes[i].second << ": " << Explain(taken);
  }
}

#define AT_LEVELS(NAME, KERNEL, CUT)                                                   \
  TEST(Triangles, NAME##O0) { Check(&triangle_##KERNEL##_O0, Cut::kPerhaps, Data()); } \
  TEST(Triangles, NAME##O2) { Check(&triangle_##KERNEL##_O2, Cut::CUT, Data()); }      \
  TEST(Triangles, NAME##O3) { Check(&triangle_##KERNEL##_O3, Cut::kPerhaps, Data()); }

AT_LEVELS(Square, square, kPanels)
AT_LEVELS(SquareTransposed, square_transposed, kPanels)
AT_LEVELS(Lower, lower, kPanels)
AT_LEVELS(LowerBackwards, lower_backwards, kPerhaps)
AT_LEVELS(LowerStrict, lower_strict, kPerhaps)
AT_LEVELS(LowerAdded, lower_added, kPerhaps)
AT_LEVELS(Upper, upper, kPerhaps)
AT_LEVELS(UpperAdded, upper_added, kPerhaps)
AT_LEVELS(Mirrored, mirrored, kPerhaps)
AT_LEVELS(FeedsItself, feeds_itself, kPerhaps)
TEST(Triangles, FloatsO2) { Check(&triangle_floats_O2, Cut::kPanels, Floats()); }
TEST(Triangles, FloatsO3) { Check(&triangle_floats_O3, Cut::kPerhaps, Floats()); }

// Sums that become NaN are the original's.
TEST(Triangles, NaNsAreRedone) {
  std::vector<double> data = Data();
  data[kResults + 7 * kLength + 3] = std::numeric_limits<double>::infinity();
  data[kResults + 7 * kLength + 90] = -std::numeric_limits<double>::infinity();
  data[kResults + 200 * kLength + 5] = std::numeric_limits<double>::quiet_NaN();
  data[40 * kRows + 11] = -std::numeric_limits<double>::quiet_NaN();
  for (Kernel kernel : {&triangle_lower_O2, &triangle_upper_O2, &triangle_square_O2, &triangle_lower_added_O2}) {
    ExpectSame<double>(
        reinterpret_cast<const void*>(kernel), data, [=](std::vector<double>& v) { RunOn(kernel, v, kRows, kLength); },
        Becomes::kAny);
  }
}

}  // namespace
}  // namespace tracelift::offload

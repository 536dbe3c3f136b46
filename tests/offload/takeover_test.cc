// One loop at a time through the whole chain, without sampling: decode, capture, compile, dispatch, compare.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define KERNELS(LEVEL)                                                                       \
  void triad_##LEVEL(double*, const double*, const double*, double, size_t);                 \
  void matmul_##LEVEL(double*, const double*, const double*, int);                           \
  void stencil2d_##LEVEL(double*, const double*, int, int);                                  \
  void mandelbrot_##LEVEL(int*, int, int, int);                                              \
  void convolve_##LEVEL(uint8_t*, const uint8_t*, int, int);                                 \
  void saxpy_float_##LEVEL(float*, const float*, float, unsigned);                           \
  void gemm_##LEVEL(double*, const double*, const double*, double, double, int);             \
  void clamp_##LEVEL(float*, int, float, float);                                             \
  void columns_##LEVEL(double*, int, int);                                                   \
  double sum_##LEVEL(const double*, size_t);                                                 \
  void shift_##LEVEL(double*, size_t, ptrdiff_t);                                            \
  void nbody_##LEVEL(const double*, double*, int);                                           \
  void stencil3d_##LEVEL(float*, const float*, int, float, float);                           \
  void blur_##LEVEL(uint8_t*, const uint8_t*, int, int);                                     \
  const void* static_matmul_code_##LEVEL();                                                  \
  void static_matmul_##LEVEL(double*, const double*, const double*);                         \
  void nearest_centres_##LEVEL(int*, const float*, const float*, size_t, int);               \
  void distances_##LEVEL(float*, const float*, int);                                         \
  void wave_##LEVEL(Vectors*);                                                               \
  void accelerate_##LEVEL(double*, int);                                                     \
  void drift_##LEVEL(double*, int, double);                                                  \
  int last_above_##LEVEL(int*, const int*, int, int);                                        \
  void hold_##LEVEL(int*, const int*, int, int);                                             \
  void prefix_##LEVEL(int*, int);                                                            \
  void divide_rows_##LEVEL(int*, const int*, const int*, int);                               \
  void count_in_rows_##LEVEL(int*, const uint8_t*, int, int);                                \
  void transpose_##LEVEL(float*, const float*, int);                                         \
  void grey_##LEVEL(uint8_t*, const uint8_t*, int);                                          \
  void lower_triangle_##LEVEL(double*, int);                                                 \
  void julia_##LEVEL(float*, int, int, float, float);                                        \
  void behind_##LEVEL(float*, const float*, int, int, int);                                  \
  void choose_##LEVEL(double*, const double*, const uint8_t*, int);                          \
  void choose_int_##LEVEL(int*, const int*, int);                                            \
  void shorten_by_##LEVEL(int*, int, int);                                                   \
  int find_##LEVEL(const int*, int, int);                                                    \
  int copy_until_##LEVEL(int*, const int*, int, int);                                        \
  int find_slow_##LEVEL(const int*, int);
struct Vectors {
  double *now, *before, *next, *stiffness;
  size_t size;
};
extern "C" {
KERNELS(O1)
KERNELS(O2)
KERNELS(O3)
}

namespace tracelift::offload {
namespace {

#define AT_EACH_LEVEL(TEST_NAME, KERNEL, ...)                                 \
  TEST(Takeover, TEST_NAME##O1) { const auto kernel = &KERNEL##_O1; __VA_ARGS__ } \
  TEST(Takeover, TEST_NAME##O2) { const auto kernel = &KERNEL##_O2; __VA_ARGS__ } \
  TEST(Takeover, TEST_NAME##O3) { const auto kernel = &KERNEL##_O3; __VA_ARGS__ }
#define AT_LEVELS_1_AND_2(TEST_NAME, KERNEL, ...)                                 \
  TEST(Takeover, TEST_NAME##O1) { const auto kernel = &KERNEL##_O1; __VA_ARGS__ } \
  TEST(Takeover, TEST_NAME##O2) { const auto kernel = &KERNEL##_O2; __VA_ARGS__ }
#define AT_LEVEL_1(TEST_NAME, KERNEL, ...) TEST(Takeover, TEST_NAME##O1) { const auto kernel = &KERNEL##_O1; __VA_ARGS__ }
#define AS_POINTER(f) reinterpret_cast<const void*>(f)

AT_EACH_LEVEL(Triad, triad, {
  constexpr size_t n = 400'000;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(3 * n), [=](std::vector<double>& v) {
    kernel(v.data(), v.data() + n, v.data() + 2 * n, 3.0, n);
  });
})

AT_EACH_LEVEL(MatrixProduct, matmul, {
  constexpr int n = 150;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(3 * n * n), [=](std::vector<double>& v) {
    kernel(v.data(), v.data() + n * n, v.data() + 2 * n * n, n);
  });
})

// The passes before the pivot's row run together, then it alone, then those behind it.
AT_EACH_LEVEL(PivotRow, shorten_by, {
  constexpr int n = 500;
  for (int pivot : {0, 3, n / 2, n - 2, n - 1}) {
    std::vector<int> distance = RandomInts(n * n);
    for (int& d : distance) d = (d & 0xffff) - 5;  // a few shorten the pivot's own row
    ExpectSame<int>(AS_POINTER(kernel), distance, [=](std::vector<int>& v) { kernel(v.data(), n, pivot); });
  }
})

AT_EACH_LEVEL(Stencil, stencil2d, {
  constexpr int h = 600, w = 800;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(2 * h * w), [=](std::vector<double>& v) {
    kernel(v.data(), v.data() + h * w, h, w);
  });
})

AT_EACH_LEVEL(Mandelbrot, mandelbrot, {
  constexpr int w = 120, h = 90;
  ExpectSame<int>(AS_POINTER(kernel), std::vector<int>(w * h),
                  [=](std::vector<int>& v) { kernel(v.data(), w, h, 300); });
})

AT_EACH_LEVEL(ByteConvolution, convolve, {
  constexpr int h = 400, w = 933;
  std::vector<uint8_t> image(2 * h * w);
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  ExpectSame<uint8_t>(AS_POINTER(kernel), image,
                      [=](std::vector<uint8_t>& v) { kernel(v.data(), v.data() + h * w, h, w); });
})

AT_EACH_LEVEL(FloatAxpy, saxpy_float, {
  constexpr unsigned n = 400'000;
  ExpectSame<float>(AS_POINTER(kernel), RandomFloats(2 * n), [=](std::vector<float>& v) {
    kernel(v.data(), v.data() + n, 1.25f, n);
  });
})

// Of two NaN operands x86 keeps the first; LLVM may swap them. The chunks that meet one are done again by the original.
AT_EACH_LEVEL(AFewNaNsInPlace, saxpy_float, {
  constexpr unsigned n = 4'000'000;
  std::vector<float> data = RandomFloats(2 * n);
  for (unsigned i = 2'000'000; i < n; i += 900'001) {  // slices ahead of them are verified
    const uint32_t own = 0x7fc00001 + i;
    const uint32_t other = 0xffc00002 + i;
    std::memcpy(&data[i], &own, 4);
    if (i % 2 == 0) std::memcpy(&data[n + i], &other, 4);
  }
  ExpectSame<float>(AS_POINTER(kernel), data,
                    [=](std::vector<float>& v) { kernel(v.data(), v.data() + n, 1.25f, n); });
})

// Branches on alpha and beta, which compilers leave inside the loop; only beta == 0 is what the variant is made for.
AT_EACH_LEVEL(BranchesOnArguments, gemm, {
  constexpr int n = 160;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(3 * n * n), [=](std::vector<double>& v) {
    for (const double beta : {0.0, 0.5, 0.0, 1.0, -0.0}) kernel(v.data(), v.data() + n * n, v.data() + 2 * n * n, 1.5, beta, n);
  });
})

AT_EACH_LEVEL(ConditionalBody, clamp, {
  constexpr int n = 600'000;
  ExpectSame<float>(AS_POINTER(kernel), RandomFloats(n),
                    [=](std::vector<float>& v) { kernel(v.data(), n, -0.5f, 0.25f); });
})

AT_EACH_LEVEL(InterleavedColumns, columns, {
  constexpr int rows = 300, cols = 400;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(rows * cols),
                     [=](std::vector<double>& v) { kernel(v.data(), rows, cols); });
})

AT_EACH_LEVEL(ForcesOfBodies, nbody, {
  constexpr int n = 400;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(6 * n),
                     [=](std::vector<double>& v) { kernel(v.data(), v.data() + 3 * n, n); });
})

AT_EACH_LEVEL(OverlapFarEnough, shift, {
  constexpr size_t n = 200'000;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(3 * n),
                     [=](std::vector<double>& v) { kernel(v.data(), n, n); });
})

AT_EACH_LEVEL(OverlapIsLeftToTheOriginal, shift, {
  constexpr size_t n = 200'000;
  ExpectSame<double>(
      AS_POINTER(kernel), RandomDoubles(3 * n), [=](std::vector<double>& v) { kernel(v.data(), n, 1); }, Becomes::kAny);
})

AT_EACH_LEVEL(CubeStencil, stencil3d, {
  constexpr int n = 60;
  ExpectSame<float>(AS_POINTER(kernel), RandomFloats(2 * n * n * n), [=](std::vector<float>& v) {
    kernel(v.data(), v.data() + n * n * n, n, 0.4f, 0.1f);
  });
})

// At -O3 gcc spills so many pointers, in overlapping pieces, that addresses are loaded from the stack: left alone.
AT_LEVELS_1_AND_2(FiveByFiveBlur, blur, {
  constexpr int h = 200;
  constexpr int w = 300;
  ExpectSame<uint8_t>(AS_POINTER(kernel), RandomBytes(2 * h * w),
                      [=](std::vector<uint8_t>& v) { kernel(v.data(), v.data() + h * w, w, h); });
})

#define STATIC_MATMUL(LEVEL)                                                                            \
  TEST(Takeover, StaticMatrixProduct##LEVEL) {                                                          \
    constexpr int n = 120;                                                                              \
    ExpectSame<double>(static_matmul_code_##LEVEL(), RandomDoubles(3 * n * n), [](std::vector<double>& v) { \
      static_matmul_##LEVEL(v.data(), v.data() + n * n, v.data() + 2 * n * n);                          \
    });                                                                                                 \
  }
STATIC_MATMUL(O1)
STATIC_MATMUL(O2)
STATIC_MATMUL(O3)

AT_EACH_LEVEL(NearestCentres, nearest_centres, {
  constexpr size_t n = 4000;
  constexpr int clusters = 40;
  const std::vector<float> points = RandomFloats((n + clusters) * 8);
  ExpectSame<int>(AS_POINTER(kernel), std::vector<int>(n), [=](std::vector<int>& v) {
    kernel(v.data(), points.data(), points.data() + n * 8, n, clusters);
  });
})

AT_EACH_LEVEL(Distances, distances, {
  constexpr int n = 250;
  ExpectSame<float>(AS_POINTER(kernel), RandomFloats(n * n + n * 32),
                    [=](std::vector<float>& v) { kernel(v.data(), v.data() + n * n, n); });
})

AT_EACH_LEVEL(WaveThroughPointersInMemory, wave, {
  constexpr size_t n = 200'000;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(4 * n), [=](std::vector<double>& v) {
    Vectors vectors{v.data(), v.data() + n, v.data() + 2 * n, v.data() + 3 * n, n};
    kernel(&vectors);
  });
})

AT_EACH_LEVEL(AccelerationOfBodies, accelerate, {
  constexpr int n = 500;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(7 * n),
                     [=](std::vector<double>& v) { kernel(v.data(), n); });
})

AT_EACH_LEVEL(DriftOfBodies, drift, {
  constexpr int n = 200'000;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(7 * n),
                     [=](std::vector<double>& v) { kernel(v.data(), n, 0.01); });
})

AT_EACH_LEVEL(CheckedDivisions, divide_rows, {
  constexpr int n = 400'000;
  std::vector<int> data = RandomCounts(3 * n);
  for (int i = 0; i < n; ++i) data[2 * n + i] = data[2 * n + i] % 1000 + 1;
  ExpectSame<int>(AS_POINTER(kernel), data, [=](std::vector<int>& v) {
    kernel(v.data(), v.data() + n, v.data() + 2 * n, n);
  });
})

AT_EACH_LEVEL(CountsInRows, count_in_rows, {
  constexpr int h = 6000;
  constexpr int w = 777;
  const std::vector<uint8_t> image = RandomBytes(h * w);
  ExpectSame<int>(AS_POINTER(kernel), std::vector<int>(h),
                  [=](std::vector<int>& v) { kernel(v.data(), image.data(), h, w); });
})

AT_EACH_LEVEL(Transpose, transpose, {
  constexpr int n = 500;
  ExpectSame<float>(AS_POINTER(kernel), RandomFloats(2 * n * n),
                    [=](std::vector<float>& v) { kernel(v.data(), v.data() + n * n, n); });
})

AT_EACH_LEVEL(BytesOfPixels, grey, {
  constexpr int n = 300'000;
  ExpectSame<uint8_t>(AS_POINTER(kernel), RandomBytes(4 * n),
                      [=](std::vector<uint8_t>& v) { kernel(v.data(), v.data() + n, n); });
})

AT_LEVELS_1_AND_2(LowerTriangle, lower_triangle, {
  constexpr int n = 1000;
  ExpectSame<double>(
      AS_POINTER(kernel), RandomDoubles(n * n), [=](std::vector<double>& v) { kernel(v.data(), n); },
      Becomes::kAny);  // a core alone is about as fast as memory
})
// At -O3 gcc enters the outer loop in the middle of its body: two entries, left alone.

AT_EACH_LEVEL(JuliaSet, julia, {
  constexpr int w = 200;
  constexpr int h = 150;
  ExpectSame<float>(AS_POINTER(kernel), std::vector<float>(w * h),
                    [=](std::vector<float>& v) { kernel(v.data(), w, h, -0.8f, 0.156f); });
})

// Above -O1 gcc copies the end of the loop into each case.
AT_EACH_LEVEL(JumpTable, choose, {
  constexpr int n = 400'000;
  std::vector<uint8_t> what = RandomBytes(n);
  for (uint8_t& w : what) w = w < 200 ? 6 + w % 9 : w;
  ExpectSame<double>(AS_POINTER(kernel), RandomDoubles(2 * n), [=](std::vector<double>& v) {
    kernel(v.data(), v.data() + n, what.data(), n);
  });
})

// Above -O1 gcc puts the default case into a part of the function of its own, from where control comes back.
AT_LEVEL_1(JumpTableOfNumbers, choose_int, {
  constexpr int n = 400'000;
  std::vector<int> what = RandomCounts(n);
  for (int& w : what) w = w % 10 == 0 ? w : 98 + w % 9;
  ExpectSame<int>(AS_POINTER(kernel), std::vector<int>(n),
                  [=](std::vector<int>& v) { kernel(v.data(), what.data(), n); });
})

AT_EACH_LEVEL(HeldValueIsRejected, hold, {
  constexpr int n = 100'000;
  ExpectSame<int>(AS_POINTER(kernel), RandomCounts(2 * n),
                  [=](std::vector<int>& v) { kernel(v.data(), v.data() + n, n, 1 << 29); }, Becomes::kLeftAlone);
})

AT_EACH_LEVEL(PrefixSumIsRejected, prefix, {
  constexpr int n = 100'000;
  ExpectSame<int>(AS_POINTER(kernel), RandomCounts(n), [=](std::vector<int>& v) { kernel(v.data(), n); },
                  Becomes::kLeftAlone);
})

// At -O3 the last position is a vector reduction, which is carried.
AT_LEVELS_1_AND_2(LastValueOfSomePasses, last_above, {
  constexpr int n = 400'000;
  ExpectSame<int>(AS_POINTER(kernel), RandomCounts(2 * n + 1),
                  [=](std::vector<int>& v) { v[2 * n] = kernel(v.data(), v.data() + n, n, 1 << 29); });
})

AT_LEVELS_1_AND_2(LastValueThatOnlyAnEarlyPassSets, last_above, {
  constexpr int n = 400'000;
  std::vector<int> data = RandomCounts(2 * n + 1);
  for (int i = 0; i < n; ++i) data[n + i] %= 1000;
  data[n + 1000] = 5000;
  ExpectSame<int>(
      AS_POINTER(kernel), data, [=](std::vector<int>& v) { v[2 * n] = kernel(v.data(), v.data() + n, n, 2000); },
      Becomes::kAny);
})

AT_LEVELS_1_AND_2(LastValueThatNoPassSets, last_above, {
  constexpr int n = 400'000;
  ExpectSame<int>(
      AS_POINTER(kernel), RandomCounts(2 * n + 1),
      [=](std::vector<int>& v) { v[2 * n] = kernel(v.data(), v.data() + n, n, INT32_MAX); }, Becomes::kAny);
})

// `before` follows `in` one pass behind; an entry where it does not is the original's.
AT_LEVELS_1_AND_2(ValueOnePassBehind, behind, {
  constexpr int h = 1000;
  constexpr int w = 400;
  ExpectSame<float>(AS_POINTER(kernel), RandomFloats(2 * h * w),
                    [=](std::vector<float>& v) { kernel(v.data(), v.data() + h * w, h, w, 0); });
})

AT_LEVELS_1_AND_2(ValueElsewhereInTheFirstPass, behind, {
  constexpr int h = 1000;
  constexpr int w = 400;
  ExpectSame<float>(
      AS_POINTER(kernel), RandomFloats(2 * h * w),
      [=](std::vector<float>& v) { kernel(v.data(), v.data() + h * w, h, w, 3); }, Becomes::kAny);
})

// Found late, early, in the first pass, never.
AT_LEVELS_1_AND_2(SearchThatStopsEarly, find, {
  constexpr int n = 4'000'000;
  std::vector<int> data = RandomCounts(n + 4);
  for (const int at : {n - 70'000, n / 3, 1, n}) {
    data[static_cast<size_t>(at)] = -7;
    const Becomes becomes = at == 1 ? Becomes::kLeftAlone : Becomes::kAccelerated;
    ExpectSame<int>(AS_POINTER(kernel), data, [=](std::vector<int>& v) { v[n + 1] = kernel(v.data(), n, -7); }, becomes);
    data[static_cast<size_t>(at)] = 7;
  }
})

// What lies behind the place where it stops may be another thread's.
AT_LEVELS_1_AND_2(CopyThatStopsEarlyIsRejected, copy_until, {
  constexpr int n = 400'000;
  std::vector<int> data = RandomCounts(2 * n + 1);
  data[2 * n - 1000] = -7;
  ExpectSame<int>(AS_POINTER(kernel), data,
                  [=](std::vector<int>& v) { v[2 * n] = kernel(v.data(), v.data() + n, n, -7); }, Becomes::kLeftAlone);
})

// Behind its end lies a number on which the inner loop would run for ever.
AT_LEVELS_1_AND_2(SearchThatMightNotEndBehindItsEndIsRejected, find_slow, {
  constexpr int n = 400'000;
  std::vector<int> data = RandomCounts(n + 1);
  for (int i = 0; i < n; ++i) data[i] = data[i] % 1000 + 1;
  data[n - 1000] = -1;
  data[n - 900] = 0;
  ExpectSame<int>(AS_POINTER(kernel), data, [=](std::vector<int>& v) { v[n] = kernel(v.data(), n); }, Becomes::kLeftAlone);
})

AT_EACH_LEVEL(CarriedSumIsRejected, sum, {
  const std::vector<double> v = RandomDoubles(100'000);
  const TakenLoop taken = TakeOverLoop(AS_POINTER(kernel), [&] { EXPECT_NE(kernel(v.data(), v.size()), 0.0); });
  EXPECT_EQ(taken.region, nullptr);
  EXPECT_NE(taken.why.find("an iteration needs a value computed by the one before"), std::string::npos) << taken.why;
})

}  // namespace
}  // namespace tracelift::offload

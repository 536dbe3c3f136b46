// Loops of unoptimised code: all variables on the stack, pointers loaded again for each use. And what must not be taken
// for a variable of one's own.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

struct View {
  double* to;
  const double* from;
  size_t size;
};
struct Vectors {
  double *now, *before, *next, *stiffness;
  size_t size;
};

#define KERNELS(LEVEL)                                                                     \
  void narrowed_##LEVEL(float*, const float*, long);                                       \
  void through_pointers_##LEVEL(View*);                                                    \
  void weighted_##LEVEL(double*, const double*, int);                                      \
  void pairs_##LEVEL(int*, const int*, int);                                               \
  void complex_sum_##LEVEL(float*, const float*, int);                                     \
  void decided_##LEVEL(uint8_t*, const int*, int);                                         \
  void fours_##LEVEL(double*, const double*, long);                                        \
  void own_frame_##LEVEL(int*, const int*, long, long);                                    \
  void own_frame_rows_##LEVEL(int*, const int*, long, long);                               \
  volatile long* progress_of_##LEVEL();                                                    \
  volatile int* stop_of_##LEVEL();                                                         \
  long stoppable_##LEVEL(int*, long);                                                      \
  void matmul_##LEVEL(double*, const double*, const double*, int);                         \
  void stencil2d_##LEVEL(double*, const double*, int, int);                                \
  void mandelbrot_##LEVEL(int*, int, int, int);                                            \
  void convolve_##LEVEL(uint8_t*, const uint8_t*, int, int);                               \
  void saxpy_float_##LEVEL(float*, const float*, float, unsigned);                         \
  void gemm_##LEVEL(double*, const double*, const double*, double, double, int);           \
  void clamp_##LEVEL(float*, int, float, float);                                           \
  void columns_##LEVEL(double*, int, int);                                                 \
  void stencil3d_##LEVEL(float*, const float*, int, float, float);                         \
  void nearest_centres_##LEVEL(int*, const float*, const float*, size_t, int);             \
  void wave_##LEVEL(Vectors*);                                                             \
  void accelerate_##LEVEL(double*, int);                                                   \
  void drift_##LEVEL(double*, int, double);                                                \
  void divide_rows_##LEVEL(int*, const int*, const int*, int);                             \
  void count_in_rows_##LEVEL(int*, const uint8_t*, int, int);                              \
  void transpose_##LEVEL(float*, const float*, int);                                       \
  void grey_##LEVEL(uint8_t*, const uint8_t*, int);                                        \
  void lower_triangle_##LEVEL(double*, int);                                               \
  void prefix_##LEVEL(int*, int);
extern "C" {
KERNELS(gcc)
#ifdef TL_CLANG_14
KERNELS(clang14)
#endif
#ifdef TL_CLANG_19
KERNELS(clang19)
#endif
}

namespace tracelift::offload {
namespace {

template <typename F>
const void* CodeOf(F* function) {
  return reinterpret_cast<const void*>(function);
}

#ifdef TL_CLANG_14
#define BY_CLANG_14(NAME_OF, KERNEL, ...) \
  TEST(SlotsTakeover, NAME_OF##ByClang14) { const auto kernel = &KERNEL##_clang14; __VA_ARGS__ }
#else
#define BY_CLANG_14(NAME_OF, KERNEL, ...)
#endif
#ifdef TL_CLANG_19
#define BY_CLANG_19(NAME_OF, KERNEL, ...) \
  TEST(SlotsTakeover, NAME_OF##ByClang19) { const auto kernel = &KERNEL##_clang19; __VA_ARGS__ }
#else
#define BY_CLANG_19(NAME_OF, KERNEL, ...)
#endif
#define BY_EACH_COMPILER(NAME_OF, KERNEL, ...)                                     \
  TEST(SlotsTakeover, NAME_OF##ByGcc) { const auto kernel = &KERNEL##_gcc; __VA_ARGS__ } \
  BY_CLANG_14(NAME_OF, KERNEL, __VA_ARGS__)                                        \
  BY_CLANG_19(NAME_OF, KERNEL, __VA_ARGS__)

BY_EACH_COMPILER(CounterReadInPart, narrowed, {
  constexpr long n = 200'000;
  ExpectSame<float>(CodeOf(kernel), RandomFloats(2 * n), [=](std::vector<float>& v) { kernel(v.data(), v.data() + n, n); });
})

BY_EACH_COMPILER(BoundsThroughPointers, through_pointers, {
  constexpr size_t n = 200'000;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(2 * n), [=](std::vector<double>& v) {
    View view{v.data(), v.data() + n, n};
    kernel(&view);
  });
})

// The first pass overwrites the bound with zero, and is the last one.
BY_EACH_COMPILER(BoundsThatAreOverwritten, through_pointers, {
  constexpr size_t n = 100'000;
  std::vector<double> data = RandomDoubles(2 * n + 3);
  data[0] = -1.0;  // one is added
  ExpectSame<double>(CodeOf(kernel), data, [=](std::vector<double>& v) {
    auto* view = reinterpret_cast<View*>(v.data() + n);
    *view = {reinterpret_cast<double*>(&view->size), v.data(), n};
    kernel(view);
    *view = {};
  }, Becomes::kLeftAlone);
})

BY_EACH_COMPILER(ArrayOnTheStack, weighted, {
  constexpr int n = 60'000;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(2 * n + 8), [=](std::vector<double>& v) { kernel(v.data(), v.data() + n, n); });
})

BY_EACH_COMPILER(StructuresCopiedWhole, pairs, {
  constexpr int n = 150'000;
  ExpectSame<int>(CodeOf(kernel), RandomInts(3 * n), [=](std::vector<int>& v) { kernel(v.data(), v.data() + 2 * n, n); });
})

BY_EACH_COMPILER(ComplexNumbers, complex_sum, {
  constexpr int n = 100'000;
  ExpectSame<float>(CodeOf(kernel), RandomFloats(4 * n), [=](std::vector<float>& v) { kernel(v.data(), v.data() + 2 * n, n); });
})

BY_EACH_COMPILER(DecisionsStoredAsBytes, decided, {
  constexpr int n = 200'000;
  const std::vector<int> in = RandomInts(n);
  ExpectSame<uint8_t>(CodeOf(kernel), RandomBytes(n), [&](std::vector<uint8_t>& v) { kernel(v.data(), in.data(), n); });
})

BY_EACH_COMPILER(VariablesOf32Bytes, fours, {
  if (!__builtin_cpu_supports("avx")) GTEST_SKIP() << "no AVX";
  constexpr long n = 200'000;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(2 * n), [=](std::vector<double>& v) { kernel(v.data(), v.data() + n, n); });
})

BY_EACH_COMPILER(PointerToAnotherArray, own_frame, {
  constexpr long n = 200'000;
  ExpectSame<int>(CodeOf(kernel), RandomInts(2 * n + 1), [=](std::vector<int>& v) { kernel(v.data(), v.data() + n + 1, n, 1); });
})

BY_EACH_COMPILER(PointerIntoItsOwnFrame, own_frame, {
  constexpr long n = 100'000;
  ExpectSame<int>(CodeOf(kernel), RandomInts(2 * n + 1),
                  [=](std::vector<int>& v) { kernel(v.data(), v.data() + n + 1, n, 0); }, Becomes::kLeftAlone);
})

BY_EACH_COMPILER(PointerIntoItsOwnFrameInOnePass, own_frame_rows, {
  constexpr long n = 100'000;
  ExpectSame<int>(CodeOf(kernel), RandomInts(2 * n + 1),
                  [=](std::vector<int>& v) { kernel(v.data(), v.data() + n + 1, n, 0); }, Becomes::kLeftAlone);
})

BY_EACH_COMPILER(MatrixProduct, matmul, {
  constexpr int n = 100;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(3 * n * n),
                     [=](std::vector<double>& v) { kernel(v.data(), v.data() + n * n, v.data() + 2 * n * n, n); });
})

BY_EACH_COMPILER(Stencil, stencil2d, {
  constexpr int h = 300, w = 400;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(2 * h * w), [=](std::vector<double>& v) { kernel(v.data(), v.data() + h * w, h, w); });
})

BY_EACH_COMPILER(Mandelbrot, mandelbrot, {
  constexpr int w = 80, h = 60;
  ExpectSame<int>(CodeOf(kernel), std::vector<int>(w * h), [=](std::vector<int>& v) { kernel(v.data(), w, h, 200); });
})

BY_EACH_COMPILER(ByteConvolution, convolve, {
  constexpr int h = 150, w = 433;
  ExpectSame<uint8_t>(CodeOf(kernel), RandomBytes(2 * h * w), [=](std::vector<uint8_t>& v) { kernel(v.data(), v.data() + h * w, h, w); });
})

BY_EACH_COMPILER(FloatAxpy, saxpy_float, {
  constexpr unsigned n = 200'000;
  ExpectSame<float>(CodeOf(kernel), RandomFloats(2 * n), [=](std::vector<float>& v) { kernel(v.data(), v.data() + n, 1.25f, n); });
})

BY_EACH_COMPILER(BranchesOnArguments, gemm, {
  constexpr int n = 80;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(3 * n * n), [=](std::vector<double>& v) {
    for (const double beta : {0.0, 0.5, 0.0, 1.0, -0.0}) kernel(v.data(), v.data() + n * n, v.data() + 2 * n * n, 1.5, beta, n);
  });
})

BY_EACH_COMPILER(ConditionalBody, clamp, {
  constexpr int n = 300'000;
  ExpectSame<float>(CodeOf(kernel), RandomFloats(n), [=](std::vector<float>& v) { kernel(v.data(), n, -0.5f, 0.25f); });
})

BY_EACH_COMPILER(InterleavedColumns, columns, {
  constexpr int rows = 200, cols = 200;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(rows * cols), [=](std::vector<double>& v) { kernel(v.data(), rows, cols); });
})

BY_EACH_COMPILER(CubeStencil, stencil3d, {
  constexpr int n = 40;
  ExpectSame<float>(CodeOf(kernel), RandomFloats(2 * n * n * n), [=](std::vector<float>& v) { kernel(v.data(), v.data() + n * n * n, n, 0.4f, 0.1f); });
})

BY_EACH_COMPILER(NearestCentres, nearest_centres, {
  constexpr size_t n = 1500;
  constexpr int clusters = 30;
  const std::vector<float> points = RandomFloats((n + clusters) * 8);
  ExpectSame<int>(CodeOf(kernel), std::vector<int>(n), [&](std::vector<int>& v) { kernel(v.data(), points.data(), points.data() + n * 8, n, clusters); });
})

BY_EACH_COMPILER(WaveThroughPointersInMemory, wave, {
  constexpr size_t n = 100'000;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(4 * n), [=](std::vector<double>& v) {
    Vectors vectors{v.data(), v.data() + n, v.data() + 2 * n, v.data() + 3 * n, n};
    kernel(&vectors);
  });
})

BY_EACH_COMPILER(AccelerationOfBodies, accelerate, {
  constexpr int n = 250;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(7 * n), [=](std::vector<double>& v) { kernel(v.data(), n); });
})

BY_EACH_COMPILER(DriftOfBodies, drift, {
  constexpr int n = 100'000;
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(7 * n), [=](std::vector<double>& v) { kernel(v.data(), n, 0.01); });
})

BY_EACH_COMPILER(CheckedDivisions, divide_rows, {
  constexpr int n = 150'000;
  std::vector<int> data = RandomInts(3 * n);
  for (int i = 0; i < n; ++i) data[2 * n + i] = data[2 * n + i] % 1000 * 2 + 1;
  ExpectSame<int>(CodeOf(kernel), data, [=](std::vector<int>& v) { kernel(v.data(), v.data() + n, v.data() + 2 * n, n); });
})

BY_EACH_COMPILER(CountsInRows, count_in_rows, {
  constexpr int h = 2000, w = 277;
  const std::vector<uint8_t> image = RandomBytes(h * w);
  ExpectSame<int>(CodeOf(kernel), std::vector<int>(h), [&](std::vector<int>& v) { kernel(v.data(), image.data(), h, w); });
})

BY_EACH_COMPILER(Transpose, transpose, {
  constexpr int n = 300;
  ExpectSame<float>(CodeOf(kernel), RandomFloats(2 * n * n), [=](std::vector<float>& v) { kernel(v.data(), v.data() + n * n, n); });
})

BY_EACH_COMPILER(BytesOfPixels, grey, {
  constexpr int n = 150'000;
  ExpectSame<uint8_t>(CodeOf(kernel), RandomBytes(4 * n), [=](std::vector<uint8_t>& v) { kernel(v.data(), v.data() + n, n); });
})

BY_EACH_COMPILER(LowerTriangle, lower_triangle, {
  constexpr int n = 1200;  // less is too little work on a fast machine
  ExpectSame<double>(CodeOf(kernel), RandomDoubles(n * n), [=](std::vector<double>& v) { kernel(v.data(), n); });
})

BY_EACH_COMPILER(PrefixSum, prefix, {
  constexpr int n = 100'000;
  ExpectSame<int>(CodeOf(kernel), RandomInts(n), [=](std::vector<int>& v) { kernel(v.data(), n); }, Becomes::kLeftAlone);
})

int Expected(long i) {
  auto x = static_cast<uint32_t>(i);
  for (uint32_t k = 0; k < 200; ++k) x = x * 1664525u + k;
  return static_cast<int>(x);
}

// `kernel` runs until `stop` is set; all passes before that are complete, and none after it has begun.
void ExpectStops(long (*kernel)(int*, long), volatile int* stop, volatile long* progress,
                 const std::function<void()>& arrange) {
  constexpr long kShort = 20'000, kLong = 40'000'000;
  std::vector<int> out(kLong, -1);
  *stop = 0;
  TakenLoop taken = TakeOverLoop(CodeOf(kernel), [&] { kernel(out.data(), kShort); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  EXPECT_EQ(kernel(out.data(), kShort), kShort);
  EXPECT_GT(taken.region->executions.load(), 0u) << Explain(taken);
  std::fill(out.begin(), out.begin() + kShort, -1);
  *progress = 0;
  arrange();
  const long done = kernel(out.data(), kLong);
  EXPECT_GT(done, 0);
  EXPECT_LT(done, kLong) << Explain(taken);
  EXPECT_EQ(*progress, done - 1);
  for (long i = 0; i < done; i += 1 + i / 1000) ASSERT_EQ(out[static_cast<size_t>(i)], Expected(i)) << i;
  ASSERT_EQ(out[static_cast<size_t>(done - 1)], Expected(done - 1));
  for (long i = done; i < kLong; ++i) ASSERT_EQ(out[static_cast<size_t>(i)], -1) << i;
  EXPECT_EQ(taken.region->mismatches.load(), 0u);
  PutBack(taken);
}

// A thread that waits until it sees the loop get ahead.
TEST(SlotsTakeover, AFlagSetByAThreadThatWatchesStopsTheLoop) {
  std::jthread watcher;
  ExpectStops(&stoppable_gcc, stop_of_gcc(), progress_of_gcc(), [&] {
    watcher = std::jthread([] {
      while (*progress_of_gcc() < 100'000) std::this_thread::yield();
      *stop_of_gcc() = 1;
    });
  });
}

TEST(SlotsTakeover, AFlagSetByASignalHandlerStopsTheLoop) {
  struct sigaction action {};
  action.sa_handler = [](int) { *stop_of_gcc() = 1; };
  sigaction(SIGALRM, &action, nullptr);
  ExpectStops(&stoppable_gcc, stop_of_gcc(), progress_of_gcc(), [] {
    const itimerval soon{{0, 0}, {0, 50'000}};
    setitimer(ITIMER_REAL, &soon, nullptr);
  });
}

}  // namespace
}  // namespace tracelift::offload

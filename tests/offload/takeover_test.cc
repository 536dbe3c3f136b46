// One loop at a time through the whole chain, without sampling: decode, capture, compile, dispatch, compare.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "jit/compiler.h"
#include "offload/host/region.h"
#include "profiler/modules.h"

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
  void choose_int_##LEVEL(int*, const int*, int);
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

class SelfReader : public jit::CodeReader {
 public:
  bool Read(uint64_t address, std::span<uint8_t> out) const override {
    const iovec local{out.data(), out.size()};
    const iovec remote{reinterpret_cast<void*>(address), out.size()};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(out.size());
  }
  bool IsConstant(uint64_t address, size_t size) const override {
    const profiler::Module* module = modules_.Find(address);
    return module && module->IsConstant(address, size);
  }
  const profiler::ModuleList modules_ = profiler::ModuleList::Snapshot();
};

struct World {
  SelfReader reader;
  jit::NearMemory memory;
  std::unique_ptr<jit::Patcher> patcher = std::move(*jit::Patcher::Create());
  std::unique_ptr<jit::CodeLoader> loader = std::move(*jit::CodeLoader::Create());
  WorkerPool* pool = WorkerPool::CreateForever(4);
};

World& TheWorld() {
  static World* world = [] {
    auto* made = new World;  // code and threads live as long as the process
    static World* for_handler = made;
    struct sigaction action{};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
      greg_t& rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
      const uint64_t target = for_handler->patcher->HandleTrap(static_cast<uint64_t>(rip));
      if (target == 0) abort();
      rip = static_cast<greg_t>(target);
    };
    sigaction(SIGTRAP, &action, nullptr);
    return made;
  }();
  return *world;
}

struct Taken {
  Region* region = nullptr;
  Variant* variant = nullptr;
  std::string why;
};

// Takes over the outermost loop of `function` that can be; `run` executes it once to capture its registers.
Taken TakeOver(const void* function, const std::function<void()>& run, int levels_down = 0) {
  World& world = TheWorld();
  Taken taken;
  const auto pc = reinterpret_cast<uint64_t>(function);
  const profiler::Module* module = world.reader.modules_.Find(pc);
  const auto bounds = jit::FindFunctionBounds(world.reader, module->eh_frame_hdr.begin, pc);
  if (!bounds) return taken.why = "no bounds", taken;
  auto code = jit::DecodeFunction(world.reader, *bounds);
  if (!code) return taken.why = jit::Describe(code.error()), taken;
  for (size_t i = 0; i < (*code)->loops().size(); ++i) {
    if ((*code)->loops()[i].depth != 1 + levels_down) continue;
    const auto loop = static_cast<jit::LoopId>(i);
    auto preview = jit::PreviewLoop(**code, loop);
    if (!preview) return taken.why = jit::Describe(preview.error()), taken;
    auto* region = new Region;
    region->code = *code;
    region->loop = loop;
    region->preview = *preview;
    region->pool = world.pool;
    auto image = jit::RegionImage::Build(**code, loop, world.memory, true, &Dispatch, region);
    if (!image) return taken.why = jit::Describe(image.error()), taken;
    region->image = std::move(*image);
    if (auto ok = world.patcher->Install(*region->image); !ok) return taken.why = jit::Describe(ok.error()), taken;
    run();
    if (auto ok = world.patcher->Remove(*region->image); !ok) return taken.why = jit::Describe(ok.error()), taken;
    if (region->mode.load() != RegionMode::kCaptured) continue;
    auto artifact = jit::CompileLoop(world.reader, **code, loop, region->captured, {.keep_ir = true});
    if (!artifact) {
      taken.why = jit::Describe(artifact.error());
      continue;
    }
    auto loaded = world.loader->Load(*artifact);
    if (!loaded) return taken.why = loaded.error(), taken;
    taken.region = region;
    taken.variant = new Variant{std::move(*artifact), *loaded};
    region->variant.store(taken.variant);
    region->mode.store(RegionMode::kRun);
    region->image->SkipNext(0);
    if (auto ok = world.patcher->Install(*region->image); !ok) return taken.why = jit::Describe(ok.error()), taken;
    return taken;
  }
  if (taken.why.empty()) taken.why = "no loop was reached";
  return taken;
}

std::string Explain(const Taken& taken) {
  if (!taken.region) return taken.why;
  std::string text = "executions " + std::to_string(taken.region->executions.load()) + " verified " +
                     std::to_string(taken.region->verified.load()) + " mismatches " +
                     std::to_string(taken.region->mismatches.load());
  for (size_t i = 0; i < taken.region->decline_reasons.size(); ++i) {
    if (const auto n = taken.region->decline_reasons[i].load()) {
      text += " " + std::string(jit::Name(static_cast<jit::RejectionReason>(i))) + "=" + std::to_string(n);
    }
  }
  return text + "\n" + jit::Print(taken.variant->artifact.footprint) + taken.variant->artifact.ir;
}

// Runs `kernel` natively on one copy of the data, then taken over on another; bytes must be equal.
template <typename T>
void ExpectSameTakenOver(const void* function, std::vector<T> data, const std::function<void(std::vector<T>&)>& kernel,
                         bool expect_accelerated = true) {
  std::vector<T> native = data, traced = data, warm = data;
  kernel(native);
  const Taken taken = TakeOver(function, [&] {
    warm = data;
    kernel(warm);
  });
  ASSERT_NE(taken.region, nullptr) << Explain(taken);
  EXPECT_EQ(std::memcmp(warm.data(), native.data(), native.size() * sizeof(T)), 0) << "while capturing";
  for (int repeat = 0; repeat < 3; ++repeat) {
    traced = data;
    kernel(traced);
    EXPECT_EQ(std::memcmp(traced.data(), native.data(), native.size() * sizeof(T)), 0) << Explain(taken);
  }
  if (expect_accelerated) {
    EXPECT_GT(taken.region->executions.load(), 0u) << Explain(taken);
    EXPECT_GT(taken.region->verified.load(), 0u) << Explain(taken);
  }
  EXPECT_EQ(taken.region->mismatches.load(), 0u) << Explain(taken);
  ASSERT_TRUE(TheWorld().patcher->Remove(*taken.region->image));
}

std::vector<double> RandomDoubles(size_t n) {
  std::mt19937_64 random(n);
  std::vector<double> values(n);
  for (double& v : values) v = std::uniform_real_distribution<double>(-1, 1)(random);
  return values;
}

std::vector<float> RandomFloats(size_t n) {
  const std::vector<double> values = RandomDoubles(n);
  return {values.begin(), values.end()};
}

std::vector<int> RandomInts(size_t n) {
  std::mt19937 random(static_cast<unsigned>(n));
  std::vector<int> values(n);
  for (int& v : values) v = static_cast<int>(random() >> 1);
  return values;
}

std::vector<uint8_t> RandomBytes(size_t n) {
  std::mt19937 random(static_cast<unsigned>(n));
  std::vector<uint8_t> values(n);
  for (uint8_t& v : values) v = static_cast<uint8_t>(random() >> 7);
  return values;
}

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
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(3 * n), [=](std::vector<double>& v) {
    kernel(v.data(), v.data() + n, v.data() + 2 * n, 3.0, n);
  });
})

AT_EACH_LEVEL(MatrixProduct, matmul, {
  constexpr int n = 150;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(3 * n * n), [=](std::vector<double>& v) {
    kernel(v.data(), v.data() + n * n, v.data() + 2 * n * n, n);
  });
})

AT_EACH_LEVEL(Stencil, stencil2d, {
  constexpr int h = 600, w = 800;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(2 * h * w), [=](std::vector<double>& v) {
    kernel(v.data(), v.data() + h * w, h, w);
  });
})

AT_EACH_LEVEL(Mandelbrot, mandelbrot, {
  constexpr int w = 120, h = 90;
  ExpectSameTakenOver<int>(AS_POINTER(kernel), std::vector<int>(w * h),
                           [=](std::vector<int>& v) { kernel(v.data(), w, h, 300); });
})

AT_EACH_LEVEL(ByteConvolution, convolve, {
  constexpr int h = 400, w = 933;
  std::vector<uint8_t> image(2 * h * w);
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  ExpectSameTakenOver<uint8_t>(AS_POINTER(kernel), image,
                               [=](std::vector<uint8_t>& v) { kernel(v.data(), v.data() + h * w, h, w); });
})

AT_EACH_LEVEL(FloatAxpy, saxpy_float, {
  constexpr unsigned n = 400'000;
  ExpectSameTakenOver<float>(AS_POINTER(kernel), RandomFloats(2 * n), [=](std::vector<float>& v) {
    kernel(v.data(), v.data() + n, 1.25f, n);
  });
})

// Of two NaN operands x86 keeps the first; LLVM may swap them. The chunks that meet one are done again by the original.
AT_EACH_LEVEL(AFewNaNsInPlace, saxpy_float, {
  constexpr unsigned n = 4'000'000;
  std::vector<float> data = RandomFloats(2 * n);
  for (unsigned i = 300'000; i < n; i += 900'001) {
    const uint32_t own = 0x7fc00001 + i;
    const uint32_t other = 0xffc00002 + i;
    std::memcpy(&data[i], &own, 4);
    if (i % 2 == 0) std::memcpy(&data[n + i], &other, 4);
  }
  ExpectSameTakenOver<float>(AS_POINTER(kernel), data,
                             [=](std::vector<float>& v) { kernel(v.data(), v.data() + n, 1.25f, n); });
})

// Branches on alpha and beta, which compilers leave inside the loop; only beta == 0 is what the variant is made for.
AT_EACH_LEVEL(BranchesOnArguments, gemm, {
  constexpr int n = 160;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(3 * n * n), [=](std::vector<double>& v) {
    for (const double beta : {0.0, 0.5, 0.0, 1.0, -0.0}) kernel(v.data(), v.data() + n * n, v.data() + 2 * n * n, 1.5, beta, n);
  });
})

AT_EACH_LEVEL(ConditionalBody, clamp, {
  constexpr int n = 600'000;
  ExpectSameTakenOver<float>(AS_POINTER(kernel), RandomFloats(n),
                             [=](std::vector<float>& v) { kernel(v.data(), n, -0.5f, 0.25f); });
})

AT_EACH_LEVEL(InterleavedColumns, columns, {
  constexpr int rows = 300, cols = 400;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(rows * cols),
                              [=](std::vector<double>& v) { kernel(v.data(), rows, cols); });
})

AT_EACH_LEVEL(ForcesOfBodies, nbody, {
  constexpr int n = 400;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(6 * n),
                              [=](std::vector<double>& v) { kernel(v.data(), v.data() + 3 * n, n); });
})

AT_EACH_LEVEL(OverlapFarEnough, shift, {
  constexpr size_t n = 200'000;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(3 * n),
                              [=](std::vector<double>& v) { kernel(v.data(), n, n); });
})

AT_EACH_LEVEL(OverlapIsLeftToTheOriginal, shift, {
  constexpr size_t n = 200'000;
  ExpectSameTakenOver<double>(
      AS_POINTER(kernel), RandomDoubles(3 * n), [=](std::vector<double>& v) { kernel(v.data(), n, 1); }, false);
})

AT_EACH_LEVEL(CubeStencil, stencil3d, {
  constexpr int n = 60;
  ExpectSameTakenOver<float>(AS_POINTER(kernel), RandomFloats(2 * n * n * n), [=](std::vector<float>& v) {
    kernel(v.data(), v.data() + n * n * n, n, 0.4f, 0.1f);
  });
})

// At -O3 gcc spills so many pointers, in overlapping pieces, that addresses are loaded from the stack: left alone.
AT_LEVELS_1_AND_2(FiveByFiveBlur, blur, {
  constexpr int h = 200;
  constexpr int w = 300;
  ExpectSameTakenOver<uint8_t>(AS_POINTER(kernel), RandomBytes(2 * h * w),
                               [=](std::vector<uint8_t>& v) { kernel(v.data(), v.data() + h * w, w, h); });
})

#define STATIC_MATMUL(LEVEL)                                                                            \
  TEST(Takeover, StaticMatrixProduct##LEVEL) {                                                          \
    constexpr int n = 120;                                                                              \
    ExpectSameTakenOver<double>(static_matmul_code_##LEVEL(), RandomDoubles(3 * n * n), [](std::vector<double>& v) { \
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
  ExpectSameTakenOver<int>(AS_POINTER(kernel), std::vector<int>(n), [=](std::vector<int>& v) {
    kernel(v.data(), points.data(), points.data() + n * 8, n, clusters);
  });
})

AT_EACH_LEVEL(Distances, distances, {
  constexpr int n = 250;
  ExpectSameTakenOver<float>(AS_POINTER(kernel), RandomFloats(n * n + n * 32),
                             [=](std::vector<float>& v) { kernel(v.data(), v.data() + n * n, n); });
})

AT_EACH_LEVEL(WaveThroughPointersInMemory, wave, {
  constexpr size_t n = 200'000;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(4 * n), [=](std::vector<double>& v) {
    Vectors vectors{v.data(), v.data() + n, v.data() + 2 * n, v.data() + 3 * n, n};
    kernel(&vectors);
  });
})

AT_EACH_LEVEL(AccelerationOfBodies, accelerate, {
  constexpr int n = 500;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(7 * n),
                              [=](std::vector<double>& v) { kernel(v.data(), n); });
})

AT_EACH_LEVEL(DriftOfBodies, drift, {
  constexpr int n = 200'000;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(7 * n),
                              [=](std::vector<double>& v) { kernel(v.data(), n, 0.01); });
})

AT_EACH_LEVEL(CheckedDivisions, divide_rows, {
  constexpr int n = 400'000;
  std::vector<int> data = RandomInts(3 * n);
  for (int i = 0; i < n; ++i) data[2 * n + i] = data[2 * n + i] % 1000 + 1;
  ExpectSameTakenOver<int>(AS_POINTER(kernel), data, [=](std::vector<int>& v) {
    kernel(v.data(), v.data() + n, v.data() + 2 * n, n);
  });
})

AT_EACH_LEVEL(CountsInRows, count_in_rows, {
  constexpr int h = 6000;
  constexpr int w = 777;
  const std::vector<uint8_t> image = RandomBytes(h * w);
  ExpectSameTakenOver<int>(AS_POINTER(kernel), std::vector<int>(h),
                           [=](std::vector<int>& v) { kernel(v.data(), image.data(), h, w); });
})

AT_EACH_LEVEL(Transpose, transpose, {
  constexpr int n = 500;
  ExpectSameTakenOver<float>(AS_POINTER(kernel), RandomFloats(2 * n * n),
                             [=](std::vector<float>& v) { kernel(v.data(), v.data() + n * n, n); });
})

AT_EACH_LEVEL(BytesOfPixels, grey, {
  constexpr int n = 300'000;
  ExpectSameTakenOver<uint8_t>(AS_POINTER(kernel), RandomBytes(4 * n),
                               [=](std::vector<uint8_t>& v) { kernel(v.data(), v.data() + n, n); });
})

AT_LEVELS_1_AND_2(LowerTriangle, lower_triangle, {
  constexpr int n = 700;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(n * n),
                              [=](std::vector<double>& v) { kernel(v.data(), n); });
})
// At -O3 gcc enters the outer loop in the middle of its body: two entries, left alone.

AT_EACH_LEVEL(JuliaSet, julia, {
  constexpr int w = 200;
  constexpr int h = 150;
  ExpectSameTakenOver<float>(AS_POINTER(kernel), std::vector<float>(w * h),
                             [=](std::vector<float>& v) { kernel(v.data(), w, h, -0.8f, 0.156f); });
})

// Above -O1 gcc copies the end of the loop into each case, which no analysis here takes for one counter.
AT_LEVEL_1(JumpTable, choose, {
  constexpr int n = 400'000;
  std::vector<uint8_t> what = RandomBytes(n);
  for (uint8_t& w : what) w = w < 200 ? 6 + w % 9 : w;
  ExpectSameTakenOver<double>(AS_POINTER(kernel), RandomDoubles(2 * n), [=](std::vector<double>& v) {
    kernel(v.data(), v.data() + n, what.data(), n);
  });
})

AT_LEVEL_1(JumpTableOfNumbers, choose_int, {
  constexpr int n = 400'000;
  std::vector<int> what = RandomInts(n);
  for (int& w : what) w = w % 10 == 0 ? w : 98 + w % 9;
  ExpectSameTakenOver<int>(AS_POINTER(kernel), std::vector<int>(n),
                           [=](std::vector<int>& v) { kernel(v.data(), what.data(), n); });
})

// Runs `kernel` with an attempt to take it over; its results must be those of a plain run, and nothing may be taken.
template <typename T>
void ExpectRejected(const void* function, const std::vector<T>& data, const std::function<void(std::vector<T>&)>& kernel) {
  std::vector<T> native = data, traced = data;
  kernel(native);
  const Taken taken = TakeOver(function, [&] { kernel(traced); });
  EXPECT_EQ(taken.region, nullptr) << Explain(taken);
  EXPECT_EQ(std::memcmp(traced.data(), native.data(), native.size() * sizeof(T)), 0);
}

AT_EACH_LEVEL(HeldValueIsRejected, hold, {
  constexpr int n = 100'000;
  ExpectRejected<int>(AS_POINTER(kernel), RandomInts(2 * n),
                      [=](std::vector<int>& v) { kernel(v.data(), v.data() + n, n, 1 << 29); });
})

AT_EACH_LEVEL(PrefixSumIsRejected, prefix, {
  constexpr int n = 100'000;
  ExpectRejected<int>(AS_POINTER(kernel), RandomInts(n), [=](std::vector<int>& v) { kernel(v.data(), n); });
})

// At -O3 the last position is a vector reduction, which is carried.
AT_LEVELS_1_AND_2(LastValueOfSomePasses, last_above, {
  constexpr int n = 400'000;
  ExpectSameTakenOver<int>(AS_POINTER(kernel), RandomInts(2 * n + 1),
                           [=](std::vector<int>& v) { v[2 * n] = kernel(v.data(), v.data() + n, n, 1 << 29); });
})

AT_LEVELS_1_AND_2(LastValueThatOnlyAnEarlyPassSets, last_above, {
  constexpr int n = 400'000;
  std::vector<int> data = RandomInts(2 * n + 1);
  for (int i = 0; i < n; ++i) data[n + i] %= 1000;
  data[n + 1000] = 5000;
  ExpectSameTakenOver<int>(
      AS_POINTER(kernel), data, [=](std::vector<int>& v) { v[2 * n] = kernel(v.data(), v.data() + n, n, 2000); }, false);
})

AT_LEVELS_1_AND_2(LastValueThatNoPassSets, last_above, {
  constexpr int n = 400'000;
  ExpectSameTakenOver<int>(
      AS_POINTER(kernel), RandomInts(2 * n + 1),
      [=](std::vector<int>& v) { v[2 * n] = kernel(v.data(), v.data() + n, n, INT32_MAX); }, false);
})

// `before` follows `in` one pass behind; an entry where it does not is the original's.
AT_LEVELS_1_AND_2(ValueOnePassBehind, behind, {
  constexpr int h = 1000;
  constexpr int w = 400;
  ExpectSameTakenOver<float>(AS_POINTER(kernel), RandomFloats(2 * h * w),
                             [=](std::vector<float>& v) { kernel(v.data(), v.data() + h * w, h, w, 0); });
})

AT_LEVELS_1_AND_2(ValueElsewhereInTheFirstPass, behind, {
  constexpr int h = 1000;
  constexpr int w = 400;
  ExpectSameTakenOver<float>(
      AS_POINTER(kernel), RandomFloats(2 * h * w),
      [=](std::vector<float>& v) { kernel(v.data(), v.data() + h * w, h, w, 3); }, false);
})

AT_EACH_LEVEL(CarriedSumIsRejected, sum, {
  const std::vector<double> v = RandomDoubles(100'000);
  const Taken taken = TakeOver(AS_POINTER(kernel), [&] { EXPECT_NE(kernel(v.data(), v.size()), 0.0); });
  EXPECT_EQ(taken.region, nullptr);
  EXPECT_NE(taken.why.find("an iteration needs a value computed by the one before"), std::string::npos) << taken.why;
})

}  // namespace
}  // namespace tracelift::offload

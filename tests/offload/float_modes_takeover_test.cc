// Loops taken over under other float environments than the default one: every rounding, flush-to-zero,
// denormals-are-zero, and changes of them between entries.

#include <fenv.h>
#include <gtest/gtest.h>
#include <immintrin.h>

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "jit/float_environment.h"
#include "tests/offload/taken_loop.h"

#define FOUR_ARRAYS(T) (T*, const T*, const T*, const T*, size_t)
#define KERNELS(LEVEL)                                                                     \
  void arithmetic_##LEVEL FOUR_ARRAYS(double);                                             \
  void arithmetic_float_##LEVEL FOUR_ARRAYS(float);                                        \
  void constants_##LEVEL FOUR_ARRAYS(double);                                              \
  void roots_##LEVEL FOUR_ARRAYS(double);                                                  \
  void extremes_##LEVEL FOUR_ARRAYS(double);                                               \
  void choices_##LEVEL FOUR_ARRAYS(double);                                                \
  void narrowings_##LEVEL(float*, const double*, const float*, size_t);                    \
  void integers_##LEVEL(int32_t*, const double*, const float*, const int32_t*, size_t);    \
  void longs_##LEVEL(double*, const double*, const int64_t*, size_t);                      \
  void packed_##LEVEL FOUR_ARRAYS(float);                                                  \
  void no_floats_##LEVEL(int32_t*, const int32_t*, const int32_t*, size_t);
extern "C" {
KERNELS(sse2)
KERNELS(fma)
void fused_fma FOUR_ARRAYS(double);
void rounded_fma FOUR_ARRAYS(double);
void halves_fma(uint16_t*, const float*, const uint16_t*, size_t);
}

namespace tracelift::offload {
namespace {

constexpr size_t kCount = 400'000;  // long enough for an entry to be worth it
constexpr int kModes = 16;

uint32_t Mode(int index) {
  const auto bits = static_cast<uint32_t>(index);
  return jit::MxcsrFor((bits & 3) << 13 | ((bits & 4) != 0 ? jit::kFlushToZero : 0) |
                       ((bits & 8) != 0 ? jit::kDenormalsAreZero : 0));
}

/// The rest of the scope under this MXCSR.
class Under {
 public:
  explicit Under(uint32_t mxcsr) : before_(_mm_getcsr()) { _mm_setcsr(mxcsr); }
  ~Under() { _mm_setcsr(before_); }
  Under(const Under&) = delete;
  Under& operator=(const Under&) = delete;

 private:
  const uint32_t before_;
};

/// All that the kernels read, of every kind; full of denormals, zeros, and what is near the smallest normal numbers.
struct Data {
  std::vector<double> a, b, c;
  std::vector<float> x, y, z;
  std::vector<int32_t> n, m;
  std::vector<int64_t> l;
  std::vector<uint16_t> h;

  explicit Data(uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto real = [&](int exponent_range, int smallest) {
      if (random() % 16 == 0) return random() % 2 == 0 ? 0.0 : -0.0;
      const double significand = 1 + static_cast<double>(random() >> 11) * 0x1p-53;
      const int exponent = random() % 3 == 0 ? -static_cast<int>(random() % 3)
                           : random() % 2 == 0 ? smallest + 2 - static_cast<int>(random() % 30)
                                               : smallest / 2 - exponent_range / 2 + static_cast<int>(random() % static_cast<uint64_t>(exponent_range));
      return std::ldexp(random() % 2 == 0 ? significand : -significand, exponent);
    };
    for (size_t i = 0; i < kCount; ++i) {
      for (std::vector<double>* v : {&a, &b}) v->push_back(real(12, -1022));
      c.push_back(random() % 2 == 0 ? 0x1p-1022 * static_cast<double>(1 + random() % 7) : real(12, -1022) + 0x1.8p-500);
      for (std::vector<float>* v : {&x, &y}) v->push_back(static_cast<float>(real(12, -126)));
      z.push_back(random() % 2 == 0 ? 0x1p-126f * static_cast<float>(1 + random() % 7) : 0.75f + static_cast<float>(i % 9));
      n.push_back(static_cast<int32_t>(random()));
      m.push_back(static_cast<int32_t>(random()));
      l.push_back(static_cast<int64_t>(random()));
      h.push_back(static_cast<uint16_t>(random() % 0x7c00 | (random() & 0x8000)));
    }
    for (double& value : b) {
      if (random() % 4 == 0) value = static_cast<double>(static_cast<int32_t>(random())) * 0x1p-8;  // to be made integers
    }
  }
};

const Data& TheData() {
  static const Data data(5);
  return data;
}

template <typename T>
using Kernel = std::function<void(T*)>;

template <typename T>
std::vector<T> RunOnce(const Kernel<T>& kernel) {
  std::vector<T> out(kCount);
  kernel(out.data());
  return out;
}

template <typename T>
bool Same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

template <typename T>
size_t FirstDifference(const std::vector<T>& a, const std::vector<T>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0) return i;
  }
  return a.size();
}

/// Natively and taken over, under one mode: the same bytes, and it was accelerated.
template <typename T>
void ExpectSameUnder(uint32_t mxcsr, const void* function, const Kernel<T>& kernel) {
  SCOPED_TRACE(jit::DescribeFloatEnvironment(mxcsr));
  const Under mode(mxcsr);
  const std::vector<T> native = RunOnce(kernel);
  TakenLoop taken = TakeOverLoop(function, [&] { (void)RunOnce(kernel); });
  ASSERT_NE(taken.region, nullptr) << Explain(taken);
  EXPECT_EQ(taken.variant->artifact.float_control, jit::FloatControlOf(mxcsr));
  for (int repeat = 0; repeat < 3; ++repeat) {
    const std::vector<T> traced = RunOnce(kernel);
    EXPECT_TRUE(Same(traced, native)) << "at " << FirstDifference(traced, native) << "\n" << Explain(taken);
  }
  EXPECT_GT(taken.region->executions.load(), 0u) << Explain(taken);
  EXPECT_GT(taken.region->verified.load(), 0u) << Explain(taken);
  EXPECT_EQ(taken.region->mismatches.load(), 0u) << Explain(taken);
  EXPECT_EQ(_mm_getcsr() & ~jit::kMxcsrSticky, mxcsr);
  PutBack(taken);
}

bool HasFma() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

template <typename T>
void ExpectSameUnderAllModes(const void* function, const Kernel<T>& kernel) {
  for (int i = 0; i < kModes; ++i) ExpectSameUnder<T>(Mode(i), function, kernel);
}

#define UNDER_ALL_MODES(TEST_NAME, T, KERNEL, ...)                                                                         \
  TEST(FloatModes, TEST_NAME##Sse2) {                                                                                      \
    const Data& d = TheData();                                                                                             \
    ExpectSameUnderAllModes<T>(reinterpret_cast<const void*>(&KERNEL##_sse2), [&](T* out) { KERNEL##_sse2(out, __VA_ARGS__, kCount); }); \
  }                                                                                                                        \
  ONLY_FMA(TEST_NAME##Fma, T, KERNEL, __VA_ARGS__)
#define ONLY_FMA(TEST_NAME, T, KERNEL, ...)                                                                                \
  TEST(FloatModes, TEST_NAME) {                                                                                            \
    if (!HasFma()) GTEST_SKIP() << "no FMA";                                                                               \
    const Data& d = TheData();                                                                                             \
    ExpectSameUnderAllModes<T>(reinterpret_cast<const void*>(&KERNEL##_fma), [&](T* out) { KERNEL##_fma(out, __VA_ARGS__, kCount); }); \
  }

UNDER_ALL_MODES(Arithmetic, double, arithmetic, d.a.data(), d.b.data(), d.c.data())
UNDER_ALL_MODES(FloatArithmetic, float, arithmetic_float, d.x.data(), d.y.data(), d.z.data())
UNDER_ALL_MODES(ConstantOperands, double, constants, d.a.data(), d.b.data(), d.c.data())
UNDER_ALL_MODES(SquareRoots, double, roots, d.a.data(), d.b.data(), d.c.data())
UNDER_ALL_MODES(MinimaAndMaxima, double, extremes, d.a.data(), d.b.data(), d.c.data())
UNDER_ALL_MODES(Choices, double, choices, d.a.data(), d.b.data(), d.c.data())
UNDER_ALL_MODES(OtherPrecisions, float, narrowings, d.a.data(), d.x.data())
UNDER_ALL_MODES(Integers, int32_t, integers, d.b.data(), d.z.data(), d.n.data())
UNDER_ALL_MODES(LongIntegers, double, longs, d.b.data(), d.l.data())
UNDER_ALL_MODES(Packed, float, packed, d.x.data(), d.y.data(), d.z.data())
ONLY_FMA(FusedArithmetic, double, fused, d.a.data(), d.b.data(), d.c.data())
ONLY_FMA(RoundedNumbers, double, rounded, d.b.data(), d.a.data(), d.c.data())
ONLY_FMA(Halves, uint16_t, halves, d.x.data(), d.h.data())

// --- the modes matter, and code for them is still vector code --------------------------------------------------------

const Kernel<double> kArithmetic = [](double* out) {
  const Data& d = TheData();
  arithmetic_sse2(out, d.a.data(), d.b.data(), d.c.data(), kCount);
};
const void* const kArithmeticCode = reinterpret_cast<const void*>(&arithmetic_sse2);

TEST(FloatModes, EachGivesOtherBitsOfThisData) {
  std::vector<std::vector<double>> results;
  for (int i = 0; i < kModes; ++i) {
    const Under mode(Mode(i));
    results.push_back(RunOnce(kArithmetic));
    for (int j = 0; j < i; ++j) EXPECT_FALSE(Same(results[static_cast<size_t>(j)], results.back())) << i << " " << j;
  }
}

TEST(FloatModes, AreVectorised) {
  const Under mode(jit::MxcsrFor(jit::kFlushToZero | jit::kDenormalsAreZero));
  TakenLoop taken = TakeOverLoop(kArithmeticCode, [&] { (void)RunOnce(kArithmetic); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  EXPECT_NE(taken.variant->artifact.ir.find(" x double> @llvm.experimental.constrained.fmul.v"), std::string::npos)
      << taken.variant->artifact.ir;
  EXPECT_EQ(taken.variant->artifact.ir.find("tl.float."), std::string::npos);
  PutBack(taken);
}

// --- changes between entries -----------------------------------------------------------------------------------------

TEST(FloatModes, OfALaterEntryMustBeTheOneCompiledFor) {
  std::array<std::vector<double>, kModes> native;
  for (int i = 0; i < kModes; ++i) {
    const Under mode(Mode(i));
    native[static_cast<size_t>(i)] = RunOnce(kArithmetic);
  }
  constexpr int kCompiledFor = 2 | 4;  // upwards, flush-to-zero
  TakenLoop taken = [&] {
    const Under mode(Mode(kCompiledFor));
    return TakeOverLoop(kArithmeticCode, [&] { (void)RunOnce(kArithmetic); });
  }();
  ASSERT_NE(taken.region, nullptr) << taken.why;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kModes; ++i) {
      const uint64_t executions = taken.region->executions.load();
      const uint64_t declined = taken.Declines(jit::RejectionReason::kValuesKeepChanging);
      taken.region->image->SkipNext(0);
      const Under mode(Mode(i));
      EXPECT_TRUE(Same(RunOnce(kArithmetic), native[static_cast<size_t>(i)])) << i;
      EXPECT_EQ(taken.region->executions.load() > executions, i == kCompiledFor) << i << Explain(taken);
      EXPECT_EQ(taken.Declines(jit::RejectionReason::kValuesKeepChanging) > declined, i != kCompiledFor) << i;
    }
  }
  // And compiled again, as the session does, it runs under the new one.
  const Under mode(Mode(3));
  ASSERT_TRUE(TakeOverAgain(taken, [&] { (void)RunOnce(kArithmetic); })) << taken.why;
  const uint64_t executions = taken.region->executions.load();
  EXPECT_TRUE(Same(RunOnce(kArithmetic), native[3]));
  EXPECT_GT(taken.region->executions.load(), executions);
  EXPECT_EQ(taken.region->mismatches.load(), 0u);
  PutBack(taken);
}

TEST(FloatModes, RaiseTheProgramsStickyFlags) {
  const Under mode(jit::MxcsrFor(jit::kRoundUp | jit::kFlushToZero));
  TakenLoop taken = TakeOverLoop(kArithmeticCode, [&] { (void)RunOnce(kArithmetic); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  for (int i = 0; i < 3; ++i) (void)RunOnce(kArithmetic);
  _mm_setcsr(jit::MxcsrFor(jit::kRoundUp | jit::kFlushToZero));
  (void)RunOnce(kArithmetic);
  EXPECT_NE(_mm_getcsr() & _MM_EXCEPT_INEXACT, 0u);
  EXPECT_NE(_mm_getcsr() & _MM_EXCEPT_UNDERFLOW, 0u);
  PutBack(taken);
}

// --- exceptions that trap --------------------------------------------------------------------------------------------

constexpr uint32_t kTrapsOnInvalid = jit::MxcsrFor(jit::kFlushToZero) & ~uint32_t{_MM_MASK_INVALID};

TEST(FloatTraps, AreRejectedWithWords) {
  const Under mode(kTrapsOnInvalid);
  const TakenLoop taken = TakeOverLoop(kArithmeticCode, [&] { (void)RunOnce(kArithmetic); });
  EXPECT_EQ(taken.region, nullptr);
  EXPECT_NE(taken.why.find("flush-to-zero; traps on an invalid operation (MXCSR 0x9f00)"), std::string::npos) << taken.why;
}

TEST(FloatTraps, OfALaterEntryAreDeclined) {
  const std::vector<double> native = RunOnce(kArithmetic);
  TakenLoop taken = TakeOverLoop(kArithmeticCode, [&] { (void)RunOnce(kArithmetic); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  EXPECT_TRUE(Same(RunOnce(kArithmetic), native));
  const uint64_t executions = taken.region->executions.load();
  {
    const Under mode(0x1f80 & ~uint32_t{_MM_MASK_INVALID});
    EXPECT_TRUE(Same(RunOnce(kArithmetic), native));
  }
  EXPECT_EQ(taken.region->executions.load(), executions);
  EXPECT_GT(taken.Declines(jit::RejectionReason::kFloatEnvironment), 0u);
  EXPECT_EQ(taken.region->trapping_mxcsr.load() & _MM_MASK_INVALID, 0u);
  PutBack(taken);
}

TEST(FloatTraps, DoNotConcernLoopsWithoutFloats) {
  const Data& d = TheData();
  const Kernel<int32_t> kernel = [&](int32_t* out) { no_floats_sse2(out, d.n.data(), d.m.data(), kCount); };
  const std::vector<int32_t> native = RunOnce(kernel);
  const Under mode(kTrapsOnInvalid);
  TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&no_floats_sse2), [&] { (void)RunOnce(kernel); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  EXPECT_EQ(taken.variant->artifact.float_control, std::nullopt);
  for (const uint32_t mxcsr : {kTrapsOnInvalid, Mode(0), Mode(7)}) {
    const uint64_t executions = taken.region->executions.load();
    const Under other(mxcsr);
    EXPECT_TRUE(Same(RunOnce(kernel), native));
    EXPECT_GT(taken.region->executions.load(), executions) << Explain(taken);
  }
  PutBack(taken);
}

// --- in words ---------------------------------------------------------------------------------------------------------

TEST(FloatEnvironment, IsToldInWords) {
  EXPECT_EQ(jit::DescribeFloatEnvironment(0x1f80), "default (MXCSR 0x1f80)");
  EXPECT_EQ(jit::DescribeFloatEnvironment(0x9fff), "flush-to-zero, denormals-are-zero (MXCSR 0x9fc0)");
  EXPECT_EQ(jit::DescribeFloatEnvironment(0x5d80), "rounding up; traps on a division by zero (MXCSR 0x5d80)");
}

}  // namespace
}  // namespace tracelift::offload

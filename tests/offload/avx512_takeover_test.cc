// Loops of AVX-512 code, as gcc makes it of plain C, through the whole chain: the same bytes as natively.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "tests/offload/same_results.h"

extern "C" {
void avx512_triad(double*, const double*, const double*, double, size_t);
void avx512_choose(float*, const float*, const float*, size_t);
void avx512_some(float*, const float*, const float*, size_t);
void avx512_some_bytes(uint8_t*, const uint8_t*, size_t);
void avx512_bytes(uint8_t*, const uint8_t*, const uint8_t*, size_t);
void avx512_longs(int64_t*, const int64_t*, const int64_t*, size_t);
void avx512_unsigned(double*, const uint64_t*, const uint32_t*, size_t);
void avx512_narrow(uint8_t*, const uint32_t*, size_t);
void avx512_curvature(float*, const float*, size_t);
void avx512_planes(float*, const float*, size_t);
}

namespace tracelift::offload {
namespace {

constexpr size_t kCount = 400'000;

bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vl");
}

template <typename T>
std::vector<T> Random(size_t seed, size_t count) {
  std::mt19937_64 random(seed);
  std::vector<T> values(count);
  for (T& value : values) {
    if constexpr (std::is_floating_point_v<T>) {
      value = static_cast<T>(std::uniform_real_distribution<double>(-1, 1)(random));
    } else {
      value = static_cast<T>(random() >> 5);
    }
  }
  return values;
}

template <typename T, typename Function>
void ExpectSame(Function* function, const std::vector<T>& out, const std::function<void(T*)>& kernel) {
  if (!HasAvx512()) GTEST_SKIP() << "no AVX-512";
  offload::ExpectSame<T>(reinterpret_cast<const void*>(function), out, [&](std::vector<T>& v) { kernel(v.data()); });
}

TEST(Avx512Takeover, Triad) {
  const auto b = Random<double>(1, kCount), c = Random<double>(2, kCount);
  ExpectSame<double>(&avx512_triad, Random<double>(3, kCount),
                     [&](double* a) { avx512_triad(a, b.data(), c.data(), 3.5, kCount); });
}

TEST(Avx512Takeover, BlendsByComparison) {
  const auto b = Random<float>(1, kCount), c = Random<float>(2, kCount);
  ExpectSame<float>(&avx512_choose, Random<float>(3, kCount), [&](float* a) { avx512_choose(a, b.data(), c.data(), kCount); });
}

TEST(Avx512Takeover, StoresUnderAMask) {
  const auto b = Random<float>(1, kCount), c = Random<float>(2, kCount);
  ExpectSame<float>(&avx512_some, Random<float>(3, kCount), [&](float* a) { avx512_some(a, b.data(), c.data(), kCount); });
}

TEST(Avx512Takeover, BytesUnderAMask) {
  const auto b = Random<uint8_t>(1, 4 * kCount);
  ExpectSame<uint8_t>(&avx512_some_bytes, Random<uint8_t>(3, 4 * kCount),
                      [&](uint8_t* a) { avx512_some_bytes(a, b.data(), 4 * kCount); });
}

TEST(Avx512Takeover, AveragesOfBytes) {
  const auto b = Random<uint8_t>(1, 4 * kCount), c = Random<uint8_t>(2, 4 * kCount);
  ExpectSame<uint8_t>(&avx512_bytes, Random<uint8_t>(3, 4 * kCount),
                      [&](uint8_t* a) { avx512_bytes(a, b.data(), c.data(), 4 * kCount); });
}

TEST(Avx512Takeover, ProductsOfLongs) {
  const auto b = Random<int64_t>(1, kCount), c = Random<int64_t>(2, kCount);
  ExpectSame<int64_t>(&avx512_longs, Random<int64_t>(3, kCount), [&](int64_t* a) { avx512_longs(a, b.data(), c.data(), kCount); });
}

TEST(Avx512Takeover, UnsignedConversions) {
  const auto b = Random<uint64_t>(1, kCount);
  const auto c = Random<uint32_t>(2, kCount);
  ExpectSame<double>(&avx512_unsigned, Random<double>(3, kCount),
                     [&](double* a) { avx512_unsigned(a, b.data(), c.data(), kCount); });
}

TEST(Avx512Takeover, RotationsNarrowedToBytes) {
  const auto b = Random<uint32_t>(1, 2 * kCount);
  ExpectSame<uint8_t>(&avx512_narrow, Random<uint8_t>(3, 2 * kCount), [&](uint8_t* a) { avx512_narrow(a, b.data(), 2 * kCount); });
}

TEST(Avx512Takeover, Curvature) {
  const auto in = Random<float>(1, kCount + 2);
  ExpectSame<float>(&avx512_curvature, Random<float>(3, kCount), [&](float* a) { avx512_curvature(a, in.data(), kCount); });
}

TEST(Avx512Takeover, PermutesFromTwoTables) {
  const auto b = Random<float>(1, 3 * kCount);
  ExpectSame<float>(&avx512_planes, Random<float>(3, kCount), [&](float* a) { avx512_planes(a, b.data(), kCount); });
}

}  // namespace
}  // namespace tracelift::offload

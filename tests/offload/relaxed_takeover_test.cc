// Relaxed math: results close to the original's, by the means that the artifact names; and what strict math keeps is kept.

#include <gtest/gtest.h>

#include <cmath>
#include <string_view>

#include "tests/offload/kernel_builds.h"
#include "tests/offload/random_data.h"
#include "tests/offload/taken_loop.h"

#define KERNELS(X)                                                                                                   \
  X(dot) X(product) X(difference) X(some) X(two) X(floats) X(table) X(rows) X(polynomial) X(exponential) X(powers) \
      X(sines) X(roots) X(rounded) X(counted)

#define DECLARE(name, build) void relaxed_##name##_##build(double*, int);
#define DECLARE_ALL(name) BUILDS(DECLARE, name)
extern "C" {
KERNELS(DECLARE_ALL)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, int);

struct Build {
  std::string_view name;
  Kernel kernel;
};
#define ENTRY(name, build) {#build, &relaxed_##name##_##build},
#define DEFINE_BUILDS(name) const std::vector<Build> k_##name{BUILDS(ENTRY, name)};
KERNELS(DEFINE_BUILDS)

constexpr int kCount = 400'000;

// Between 0 and 1, with parts that are floats between 0 and 1 as well.
std::vector<double> Data() {
  std::vector<double> data = RandomDoubles(3 * static_cast<size_t>(kCount));
  for (double& x : data) {
    x = std::abs(x) - std::floor(std::abs(x));
    auto* parts = reinterpret_cast<float*>(&x);
    if (!(parts[1] > 0 && parts[1] < 4)) x = 0.5;
  }
  return data;
}

constexpr std::string_view kSums = "sums in another order";

struct Outcome {
  double distance = 0;  // of all results, relative to the largest
  uint64_t verified = 0, mismatches = 0;
  std::string how;      // what was relaxed
  bool ran = false;
};

Outcome Relax(const Build& build, int result_bits = 64) {
  Outcome outcome;
  const std::vector<double> data = Data();
  std::vector<double> native = data, traced = data;
  build.kernel(native.data(), kCount);
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(build.kernel), [&] {
    traced = data;
    build.kernel(traced.data(), kCount);
  }, 0, Math::kRelaxed);
  EXPECT_NE(taken.region, nullptr) << taken.why;
  if (!taken.region) return outcome;
  for (int repeat = 0; repeat < 40 && (repeat < 4 || taken.region->verified.load() == 0) && taken.region->mismatches.load() == 0; ++repeat) {
    if (repeat >= 4) taken.Forgive();
    traced = data;
    build.kernel(traced.data(), kCount);
    const auto at = [](const std::vector<double>& v) { return reinterpret_cast<const uint8_t*>(v.data() + 2 * kCount); };
    const uint64_t count = static_cast<uint64_t>(kCount) * 64 / static_cast<uint64_t>(result_bits);
    outcome.distance = std::max(outcome.distance, DistanceOf(at(traced), at(native), count, static_cast<uint8_t>(result_bits)));
  }
  outcome.verified = taken.region->verified.load();
  outcome.mismatches = taken.region->mismatches.load();
  outcome.ran = taken.region->executions.load() > 0;
  for (const std::string& means : taken.variant->artifact.relaxations) outcome.how += means + "; ";
  if (!outcome.ran || outcome.mismatches > 0) outcome.how += "\n" + Explain(taken);
  EXPECT_TRUE(PutBack(taken));
  return outcome;
}

void ExpectClose(const std::vector<Build>& builds, std::string_view means, int result_bits = 64) {
  for (const Build& build : builds) {
    // There the sum before the last addition stays in xmm1, where a second result would be.
    if (means == kSums && build.name == "O0") continue;
    SCOPED_TRACE(build.name);
    const Outcome outcome = Relax(build, result_bits);
    EXPECT_TRUE(outcome.ran) << outcome.how;
    EXPECT_GT(outcome.verified, 0u) << outcome.how;
    EXPECT_EQ(outcome.mismatches, 0u) << outcome.how;
    EXPECT_LE(outcome.distance, ClosenessOf(static_cast<uint8_t>(result_bits)));
    EXPECT_NE(outcome.how.find(means), std::string::npos) << outcome.how;
  }
}

TEST(Relaxed, SumOfProducts) { ExpectClose(k_dot, kSums); }
TEST(Relaxed, Product) { ExpectClose(k_product, kSums); }
TEST(Relaxed, WhatIsTakenAway) { ExpectClose(k_difference, kSums); }
TEST(Relaxed, SumOfSome) { ExpectClose(k_some, kSums); }
TEST(Relaxed, TwoSums) { ExpectClose(k_two, kSums); }
TEST(Relaxed, SumOfFloats) { ExpectClose(k_floats, kSums, 32); }
TEST(Relaxed, SumOfATable) { ExpectClose(k_table, kSums); }
TEST(Relaxed, SumsOfRows) { ExpectClose(k_rows, ""); }
TEST(Relaxed, SumBesideACount) { ExpectClose(k_counted, kSums); }
TEST(Relaxed, Exponential) { ExpectClose(k_exponential, "libmvec exp"); }
TEST(Relaxed, PowersAndLogarithms) { ExpectClose(k_powers, "libmvec log pow"); }
TEST(Relaxed, SinesOfFloats) { ExpectClose(k_sines, "libmvec sinf", 32); }
TEST(Relaxed, LibraryInLoopsThatEndOneByOne) { ExpectClose(k_roots, ""); }

TEST(Relaxed, Polynomial) {
  ExpectClose(k_polynomial, __builtin_cpu_supports("fma") ? "fused multiply-adds" : "");
}

// A loop that relaxed math ruins is found out by the comparison, and the original's results stand.
TEST(Relaxed, WhatItRuinsIsFoundOut) {
  for (const Build& build : k_rounded) {
    SCOPED_TRACE(build.name);
    const Outcome outcome = Relax(build);
    EXPECT_GT(outcome.mismatches, 0u) << outcome.how;
    EXPECT_EQ(outcome.distance, 0);
  }
}

// Without being asked for, nothing of it happens.
TEST(Relaxed, StrictUnlessAskedFor) {
  for (const Build& build : k_dot) {
    std::vector<double> data = Data();
    const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(build.kernel), [&] { build.kernel(data.data(), kCount); });
    EXPECT_EQ(taken.region, nullptr) << build.name;
  }
}

}  // namespace
}  // namespace tracelift::offload

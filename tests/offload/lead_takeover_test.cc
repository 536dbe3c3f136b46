// Nests whose passes need each other from some iteration on, and do those before it side by side: the same bytes as natively.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string_view>

#include "tests/offload/kernel_builds.h"
#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define KERNELS(X)                                                                                             \
  X(cholesky) X(ldlt) X(lu) X(inverse) X(shorter) X(scaled) X(scaled_by_row_above) X(scaled_by_first) X(chain) \
      X(sometimes) X(counted)

#define DECLARE(name, build) void lead_##name##_##build(double*, const double*, int);
#define DECLARE_ALL(name) BUILDS(DECLARE, name)
extern "C" {
KERNELS(DECLARE_ALL)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, const double*, int);

struct Build {
  std::string_view name;
  Kernel kernel;
};
#define ENTRY(name, build) {#build, &lead_##name##_##build},
#define DEFINE_BUILDS(name) const std::vector<Build> k_##name{BUILDS(ENTRY, name)};
KERNELS(DEFINE_BUILDS)

constexpr int kSize = 301;  // no multiple of anything

// Diagonally dominant, so that its decompositions are tame.
std::vector<double> Table(int n = kSize) {
  std::vector<double> table = RandomDoubles(2 * static_cast<size_t>(n) * static_cast<size_t>(n));
  for (size_t i = 0; i < 2 * static_cast<size_t>(n); ++i) table[i * static_cast<size_t>(n) + i % static_cast<size_t>(n)] = n;
  return table;
}

// In builds at `leads` and those like it there must be a lead that ran; "" asks for none in any.
void Check(const std::vector<Build>& builds, const std::vector<std::string_view>& leads, const std::vector<double>& data,
           int n = kSize) {
  for (const Build& build : builds) {
    SCOPED_TRACE(build.name);
    const auto run = [n, kernel = build.kernel](std::vector<double>& v) { kernel(v.data(), v.data() + v.size() / 2, n); };
    const auto* function = reinterpret_cast<const void*>(build.kernel);
    const TakenLoop first = TakeOverLoop(function, [&] {
      std::vector<double> copy = data;
      run(copy);
    });
    const bool has_lead = first.region && first.variant->artifact.reliance.lead.loop > 0;
    const bool expected = std::ranges::find(leads, build.name) != leads.end();
    EXPECT_TRUE(has_lead || !expected) << Explain(first);
    EXPECT_FALSE(has_lead && leads.empty()) << Explain(first);
    if (first.region) {
      ASSERT_TRUE(PutBack(first));
    }
    ExpectSame<double>(function, data, run, expected && n == kSize ? Becomes::kAccelerated : Becomes::kPerhaps);
  }
}

TEST(Lead, Cholesky) { Check(k_cholesky, {"O1", "O2"}, Table()); }
TEST(Lead, WithTheDiagonalBeside) { Check(k_ldlt, {"O0"}, Table()); }
TEST(Lead, Decomposition) { Check(k_lu, {"O1"}, Table()); }
TEST(Lead, ReadsBelowItsRow) { Check(k_shorter, {"O1", "O2"}, Table()); }
TEST(Lead, NeedsWhatIsReadAhead) { Check(k_scaled, {"O1", "O2"}, Table()); }
TEST(Lead, InverseOfATriangle) { Check(k_inverse, {}, Table()); }
TEST(Lead, NeedsWhatTheRowAboveWrote) { Check(k_scaled_by_row_above, {}, Table()); }
TEST(Lead, NeedsWhatItOverwrites) { Check(k_scaled_by_first, {}, Table()); }
TEST(Lead, NeedsTheRowAboveAtOnce) { Check(k_chain, {}, Table()); }
TEST(Lead, OfRowsThatDataLeaveOut) { Check(k_sometimes, {"?"}, Table()); }
TEST(Lead, BesideWhatAllRowsCount) { Check(k_counted, {"?"}, Table()); }

// The square root of a negative number is a call, a row of NaN what follows.
TEST(Lead, NaNsAreTheOriginals) {
  std::vector<double> table = Table();
  for (const size_t row : {100, 200, 299}) table[row * kSize + row] = -1;
  Check(k_cholesky, {"?"}, table);
  table = Table();
  table[150 * kSize + 7] = std::numeric_limits<double>::quiet_NaN();
  Check(k_ldlt, {"?"}, table);
}

TEST(Lead, AnySize) {
  for (const int n : {2, 97, 128}) {
    Check(k_cholesky, {"?"}, Table(n), n);
    Check(k_lu, {"?"}, Table(n), n);
  }
}

}  // namespace
}  // namespace tracelift::offload

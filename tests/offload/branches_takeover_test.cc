// Loops whose iterations read or write only sometimes: the same bytes as natively.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define KERNELS(X)                                                                                                   \
  X(life)                                                                                                            \
  X(cases)                                                                                                           \
  X(raise_bytes) X(raise_words) X(raise_ints) X(raise_longs) X(written_before) X(written_either_way) X(where_marked) \
      X(two_places) X(reads_on) X(in_order) X(first_most) X(last_most) X(first_least) X(last_least) X(most_unsigned) \
          X(least_ints) X(none_better) X(most_longs) X(most_in_rows) X(most_of_marked) X(most_and_sum)
#ifdef TL_CLANG_19
#define CLANG19(X, name) X(name, clang19_O2)
#else
#define CLANG19(X, name)
#endif
#define BUILDS(X, name) X(name, O1) X(name, O2) X(name, O3) CLANG19(X, name)
#define DECLARE(name, build) void branch_##name##_##build(uint8_t*, const uint8_t*, long);
#define DECLARE_ALL(name) BUILDS(DECLARE, name)
extern "C" {
KERNELS(DECLARE_ALL)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(uint8_t*, const uint8_t*, long);

struct Build {
  const char* name;
  Kernel kernel;
};

constexpr long kBytes = 400'003;

// Not one multiple of a vector, and of no element.
void Check(const std::vector<Build>& builds, Becomes becomes) {
  const std::vector<uint8_t> data = RandomBytes(2 * kBytes);
  for (const Build& build : builds) {
    SCOPED_TRACE(build.name);
    const bool plain = std::string_view(build.name) == "O1" || std::string_view(build.name) == "O2";
    ExpectSame<uint8_t>(
        reinterpret_cast<const void*>(build.kernel), data,
        [&](std::vector<uint8_t>& v) { build.kernel(v.data(), v.data() + kBytes, kBytes); },
        plain ? becomes : Becomes::kPerhaps);
  }
}

#define ENTRY(name, build) {#build, &branch_##name##_##build},
#define TEST_KERNEL(NAME, name, becomes) \
  TEST(Branches, NAME) { Check({BUILDS(ENTRY, name)}, Becomes::becomes); }
TEST_KERNEL(NeighboursAreCounted, life, kAccelerated)
TEST_KERNEL(SeveralCases, cases, kAccelerated)
TEST_KERNEL(RaisesBytes, raise_bytes, kAccelerated)
TEST_KERNEL(RaisesWords, raise_words, kAccelerated)
TEST_KERNEL(RaisesInts, raise_ints, kAccelerated)
TEST_KERNEL(RaisesLongs, raise_longs, kAccelerated)
TEST_KERNEL(WrittenBefore, written_before, kAccelerated)
TEST_KERNEL(WrittenEitherWay, written_either_way, kAccelerated)
TEST_KERNEL(WhereMarked, where_marked, kAccelerated)
TEST_KERNEL(TwoPlaces, two_places, kPerhaps)
TEST_KERNEL(ReadsFurtherOn, reads_on, kAccelerated)
TEST_KERNEL(InOrder, in_order, kAccelerated)

TEST_KERNEL(FirstOfTheGreatest, first_most, kPerhaps)
TEST_KERNEL(LastOfTheGreatest, last_most, kPerhaps)
TEST_KERNEL(FirstOfTheLeast, first_least, kPerhaps)
TEST_KERNEL(LastOfTheLeast, last_least, kPerhaps)
TEST_KERNEL(GreatestUnsigned, most_unsigned, kPerhaps)
TEST_KERNEL(LeastOfInts, least_ints, kPerhaps)
TEST_KERNEL(NoneIsBetter, none_better, kPerhaps)
TEST_KERNEL(GreatestOfLongs, most_longs, kPerhaps)
TEST_KERNEL(GreatestInRows, most_in_rows, kPerhaps)
TEST_KERNEL(GreatestOfTheMarked, most_of_marked, kPerhaps)
TEST_KERNEL(GreatestLookedAt, most_and_sum, kPerhaps)

// What some iterations would have read does not exist.
TEST(Branches, DataMayFillTheirPages) {
  constexpr size_t kPage = 4096, kHalf = 25 * kPage;
  const std::vector<uint8_t> data = RandomBytes(2 * kHalf);
  auto* memory =
      static_cast<uint8_t*>(mmap(nullptr, 2 * kHalf + 3 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  uint8_t *out = memory + kPage, *in = out + kHalf + kPage;
  ASSERT_EQ(mprotect(out, kHalf, PROT_READ | PROT_WRITE), 0);
  ASSERT_EQ(mprotect(in, kHalf, PROT_READ | PROT_WRITE), 0);
  const auto check = [&](const std::vector<Build>& builds) {
    for (const Build& build : builds) {
      SCOPED_TRACE(build.name);
      ExpectSame<uint8_t>(
          reinterpret_cast<const void*>(build.kernel), data,
          [&](std::vector<uint8_t>& v) {
            std::memcpy(out, v.data(), kHalf);
            std::memcpy(in, v.data() + kHalf, kHalf);
            build.kernel(out, in, kHalf);
            std::memcpy(v.data(), out, kHalf);
          },
          Becomes::kPerhaps);
    }
  };
#define CHECK_ALL(name) check({BUILDS(ENTRY, name)});
  KERNELS(CHECK_ALL)
  munmap(memory, 2 * kHalf + 3 * kPage);
}

}  // namespace
}  // namespace tracelift::offload

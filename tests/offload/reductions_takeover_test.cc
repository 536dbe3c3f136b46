// Loops that carry reductions of integers, built by several compilers at several levels: run in chunks, the same bytes as
// natively. And loops that look like it but are not: left alone, or still the same bytes.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

using OfInts = void(uint64_t*, const int*, int);
using OfFloats = void(uint64_t*, const float*, int);

#define DECLARE(LEVEL)                                                                                           \
  OfInts sum_ints_##LEVEL, sum_wide_##LEVEL, logic_##LEVEL, extremes_##LEVEL, branchy_extremes_##LEVEL,          \
      count_above_##LEVEL, sum_some_##LEVEL, sum_triangle_##LEVEL, sum_and_last_##LEVEL, hash_##LEVEL,           \
      alternate_##LEVEL, two_kinds_##LEVEL, doubled_##LEVEL, swapped_##LEVEL, starts_again_##LEVEL,              \
      bounded_##LEVEL, where_most_##LEVEL;                                                                       \
  OfFloats count_floats_##LEVEL;                                                                                 \
  void sum_bytes_##LEVEL(uint64_t*, const uint8_t*, int);                                                        \
  void sum_rows_##LEVEL(uint64_t*, const int*, int, int);                                                        \
  void scale_and_sum_##LEVEL(uint64_t*, int*, const int*, int);                                                  \
  void halve_and_count_##LEVEL(uint64_t*, float*, int);                                                          \
  void sum_until_##LEVEL(uint64_t*, const int*, int, int);                                                       \
  void mix_words_##LEVEL(uint64_t*, const uint32_t*, int);                                                       \
  void prefix_sum_##LEVEL(uint64_t*, unsigned*, int);

#ifdef TL_CLANG_19
#define LEVELS(X) X(O0) X(O1) X(O2) X(O3) X(avx2) X(clang19)
#else
#define LEVELS(X) X(O0) X(O1) X(O2) X(O3) X(avx2)
#endif

extern "C" {
LEVELS(DECLARE)

using OfWords = void(uint64_t*, const uint64_t*, size_t);
OfWords counts_by_carry, adds_some_low_halves, adds_in_half_a_register, adds_by_lea, adds_in_the_frame, reduces_lanes,
    sums_of_sums, adds_wide, changes_places, keeps_an_earlier_one, keeps_some_earlier_one, turns_at_zero, compares_others,
    largest_after_subtraction;
}

namespace tracelift::offload {
namespace {

struct Kernels {
  const char* level;
  OfInts *sum_ints, *sum_wide, *logic, *extremes, *branchy_extremes, *count_above, *sum_some, *sum_triangle, *sum_and_last,
      *hash, *alternate, *two_kinds, *doubled, *swapped, *starts_again, *bounded, *where_most;
  OfFloats* count_floats;
  decltype(&sum_bytes_O0) sum_bytes;
  decltype(&sum_rows_O0) sum_rows;
  decltype(&scale_and_sum_O0) scale_and_sum;
  decltype(&halve_and_count_O0) halve_and_count;
  decltype(&sum_until_O0) sum_until;
  decltype(&mix_words_O0) mix_words;
  decltype(&prefix_sum_O0) prefix_sum;
};

void PrintTo(const Kernels& kernels, std::ostream* out) { *out << kernels.level; }

#define KERNELS(LEVEL)                                                                                             \
  Kernels{#LEVEL,                                                                                                  \
          &sum_ints_##LEVEL,         &sum_wide_##LEVEL,     &logic_##LEVEL,     &extremes_##LEVEL,                 \
          &branchy_extremes_##LEVEL, &count_above_##LEVEL,  &sum_some_##LEVEL,  &sum_triangle_##LEVEL,             \
          &sum_and_last_##LEVEL,     &hash_##LEVEL,         &alternate_##LEVEL, &two_kinds_##LEVEL,                \
          &doubled_##LEVEL,          &swapped_##LEVEL,      &starts_again_##LEVEL, &bounded_##LEVEL,               \
          &where_most_##LEVEL,       &count_floats_##LEVEL, &sum_bytes_##LEVEL, &sum_rows_##LEVEL,                 \
          &scale_and_sum_##LEVEL,    &halve_and_count_##LEVEL, &sum_until_##LEVEL, &mix_words_##LEVEL,             \
          &prefix_sum_##LEVEL},

constexpr int kCount = 600'000;

// What the accumulators hold at entry: above 32 bits too.
std::vector<uint64_t> Start() { return {0x123456789a, 0x8000000000000042, 77, 0xffffffff, 5, 6, 7, 8}; }

template <typename Function>
const void* CodeOf(Function* function) {
  return reinterpret_cast<const void*>(function);
}

class Reductions : public testing::TestWithParam<Kernels> {
 protected:
  static bool IsOneOf(std::initializer_list<std::string_view> levels) {
    return std::ranges::find(levels, GetParam().level) != levels.end();
  }
  // Not where the compiler made something else of the loop, which carries more than reductions.
  static Becomes AcceleratedBut(std::initializer_list<std::string_view> not_at) {
    return IsOneOf(not_at) ? Becomes::kLeftAlone : Becomes::kAccelerated;
  }

  static void Check(OfInts* kernel, const std::vector<int>& data, Becomes becomes = Becomes::kAccelerated) {
    ExpectSame<uint64_t>(
        CodeOf(kernel), Start(),
        [&](std::vector<uint64_t>& out) { kernel(out.data(), data.data(), static_cast<int>(data.size())); }, becomes);
  }
};

TEST_P(Reductions, SumOfInts) { Check(GetParam().sum_ints, RandomInts(kCount)); }
TEST_P(Reductions, SumOfIntsAsLong) { Check(GetParam().sum_wide, RandomInts(kCount)); }
TEST_P(Reductions, AndOrXor) { Check(GetParam().logic, RandomInts(kCount)); }
TEST_P(Reductions, Extremes) { Check(GetParam().extremes, RandomInts(kCount)); }
TEST_P(Reductions, ExtremesThatBranch) {
  Check(GetParam().branchy_extremes, RandomInts(kCount), AcceleratedBut({"avx2"}));
}
TEST_P(Reductions, Counts) { Check(GetParam().count_above, RandomInts(kCount)); }
TEST_P(Reductions, SumsOfSome) { Check(GetParam().sum_some, RandomInts(kCount)); }
TEST_P(Reductions, BesideAValueThatSomePassSets) {
  Check(GetParam().sum_and_last, RandomInts(kCount), AcceleratedBut({"avx2"}));
}

TEST_P(Reductions, TriangleOfSumsAndExtremes) {
  if (IsOneOf({"avx2", "clang19"})) GTEST_SKIP() << "several entries, and counts that loaded data decide";
  constexpr int n = 700;
  const std::vector<int> data = RandomInts(n * n);
  const auto kernel = GetParam().sum_triangle;
  ExpectSame<uint64_t>(CodeOf(kernel), Start(), [&](std::vector<uint64_t>& out) { kernel(out.data(), data.data(), n); });
}

TEST_P(Reductions, SumOfBytes) {
  const std::vector<uint8_t> data = RandomBytes(kCount);
  const auto kernel = GetParam().sum_bytes;
  ExpectSame<uint64_t>(
      CodeOf(kernel), Start(), [&](std::vector<uint64_t>& out) { kernel(out.data(), data.data(), kCount); },
      AcceleratedBut({"O3", "avx2", "clang19"}));
}

TEST_P(Reductions, SumOfRows) {
  constexpr int rows = 300, columns = 777;
  const std::vector<int> data = RandomInts(rows * columns);
  const auto kernel = GetParam().sum_rows;
  ExpectSame<uint64_t>(CodeOf(kernel), Start(),
                       [&](std::vector<uint64_t>& out) { kernel(out.data(), data.data(), rows, columns); },
                       AcceleratedBut({"avx2"}));
}

TEST_P(Reductions, CountOfFloats) {
  std::vector<float> data = RandomFloats(kCount);
  data[kCount / 3] = std::numeric_limits<float>::quiet_NaN();
  const auto kernel = GetParam().count_floats;
  ExpectSame<uint64_t>(CodeOf(kernel), Start(), [&](std::vector<uint64_t>& out) { kernel(out.data(), data.data(), kCount); });
}

TEST_P(Reductions, SumOfWhatIsWritten) {
  const auto kernel = GetParam().scale_and_sum;
  const std::vector<int> data = RandomInts(kCount);
  std::vector<uint64_t> all = Start();
  all.resize(all.size() + kCount / 2);
  ExpectSame<uint64_t>(CodeOf(kernel), all, [&](std::vector<uint64_t>& out) {
    kernel(out.data(), reinterpret_cast<int*>(out.data() + 8), data.data(), kCount);
  });
}

TEST_P(Reductions, ChunksWithNaNAreForgotten) {
  const auto kernel = GetParam().halve_and_count;
  constexpr int count = 4'000'000;
  std::vector<float> data = RandomFloats(count);
  for (const size_t i : {300'000u, 700'001u, 1'100'002u}) {  // long slices find passes without NaN behind them
    const uint32_t signalling = 0x7f800001 + static_cast<uint32_t>(i);
    std::memcpy(&data[i], &signalling, 4);
  }
  std::vector<uint64_t> all = Start();
  all.resize(all.size() + count / 2);
  std::memcpy(all.data() + 8, data.data(), data.size() * sizeof(float));
  // Vectors of one core may be as fast as memory is: then no slice wins.
  const bool wins = std::string_view(GetParam().level) != "O3";
  ExpectSame<uint64_t>(
      CodeOf(kernel), all,
      [&](std::vector<uint64_t>& out) { kernel(out.data(), reinterpret_cast<float*>(out.data() + 8), count); },
      wins ? Becomes::kAccelerated : Becomes::kAny);
}

TEST_P(Reductions, UntilAValueIsFound) {
  const auto kernel = GetParam().sum_until;
  std::vector<int> data = RandomInts(kCount);
  std::replace(data.begin(), data.end(), 12345, 12346);
  data[kCount - 10] = 12345;
  for (const int stop : {12345, 12347}) {
    ExpectSame<uint64_t>(
        CodeOf(kernel), Start(), [&](std::vector<uint64_t>& out) { kernel(out.data(), data.data(), kCount, stop); },
        stop == 12345 ? Becomes::kAny : Becomes::kAccelerated);
  }
}

TEST_P(Reductions, MixedWords) {
  const auto kernel = GetParam().mix_words;
  const std::vector<int> data = RandomInts(kCount);
  ExpectSame<uint64_t>(
      CodeOf(kernel), Start(),
      [&](std::vector<uint64_t>& out) { kernel(out.data(), reinterpret_cast<const uint32_t*>(data.data()), kCount); },
      AcceleratedBut({"clang19"}));
}

TEST_P(Reductions, ThatAreNoneAreLeftAlone) {
  const Kernels& k = GetParam();
  const std::vector<int> data = RandomInts(kCount);
  for (OfInts* kernel : {k.hash, k.alternate, k.two_kinds, k.doubled, k.swapped, k.starts_again, k.bounded, k.where_most}) {
    SCOPED_TRACE(std::find(&k.sum_ints, &k.where_most, kernel) - &k.sum_ints);
    // Two passes of these at once are: `a - (b - sum)`.
    const bool any = IsOneOf({"clang19"}) && (kernel == k.alternate || kernel == k.swapped);
    const bool perhaps = kernel == k.where_most || kernel == k.swapped;  // numbers with their places; what takes turns
    Check(kernel, data, perhaps ? Becomes::kPerhaps : any ? Becomes::kAny : Becomes::kLeftAlone);
  }
}

TEST_P(Reductions, ThatEachPassShowsAreLeftAlone) {
  const auto kernel = GetParam().prefix_sum;
  const std::vector<int> data = RandomInts(2 * kCount);
  std::vector<uint64_t> all = Start();
  all.resize(all.size() + kCount / 2);
  ExpectSame<uint64_t>(
      CodeOf(kernel), all,
      [&](std::vector<uint64_t>& out) { kernel(out.data(), reinterpret_cast<unsigned*>(out.data() + 8), kCount); },
      Becomes::kLeftAlone);
}

std::vector<uint64_t> Words() {
  const std::vector<int> ints = RandomInts(2 * kCount);
  std::vector<uint64_t> words(kCount);
  std::memcpy(words.data(), ints.data(), words.size() * sizeof(uint64_t));
  return words;
}

std::vector<uint64_t> EvenWords() {
  std::vector<uint64_t> words = Words();
  for (uint64_t& word : words) word &= ~uint64_t{1};
  return words;
}

void CheckWords(OfWords* function, const std::vector<uint64_t>& start, const std::vector<uint64_t>& words, Becomes becomes) {
  ExpectSame<uint64_t>(
      CodeOf(function), start,
      [&](std::vector<uint64_t>& out) { function(out.data(), words.data(), words.size()); }, becomes);
}

TEST(ReductionLoops, Counts) { CheckWords(&counts_by_carry, Start(), Words(), Becomes::kAccelerated); }
TEST(ReductionLoops, ScaledAdditions) { CheckWords(&adds_by_lea, Start(), Words(), Becomes::kAccelerated); }
TEST(ReductionLoops, BesideTheOneBefore) { CheckWords(&keeps_an_earlier_one, Start(), Words(), Becomes::kAccelerated); }
TEST(ReductionLoops, InTheFrame) { CheckWords(&adds_in_the_frame, Start(), Words(), Becomes::kAccelerated); }
TEST(ReductionLoops, Lanes) { CheckWords(&reduces_lanes, Start(), Words(), Becomes::kAccelerated); }
TEST(ReductionLoops, InnerLoopsOfNoPasses) { CheckWords(&sums_of_sums, Start(), Words(), Becomes::kAccelerated); }

TEST(ReductionLoops, ComparisonsWithFlippedSigns) {
  std::vector<uint64_t> start(6, 0x8000000080000000);
  CheckWords(&largest_after_subtraction, start, Words(), Becomes::kAccelerated);
  start[4] = 0x1234567880000001;
  CheckWords(&largest_after_subtraction, start, Words(), Becomes::kLeftAlone);
}

TEST(ReductionLoops, HalvesThatSomePassesWrite) {
  CheckWords(&adds_some_low_halves, {17}, Words(), Becomes::kAccelerated);
  CheckWords(&adds_some_low_halves, {0xffffffff}, Words(), Becomes::kAccelerated);
}

// Above the accumulator lies something, which it loses with the first pass that adds.
TEST(ReductionLoops, HalvesBelowSomethingElse) {
  CheckWords(&adds_some_low_halves, Start(), Words(), Becomes::kAny);
  const std::vector<uint64_t> even = EvenWords();
  CheckWords(&adds_in_half_a_register, Start(), even, Becomes::kLeftAlone);
  CheckWords(&adds_in_half_a_register, {55}, even, Becomes::kAccelerated);
}

TEST(ReductionLoops, ThatAreNoneAreLeftAlone) {
  for (OfWords* function : {&adds_wide, &changes_places, &keeps_some_earlier_one, &turns_at_zero, &compares_others}) {
    CheckWords(function, Start(), Words(), Becomes::kLeftAlone);
  }
}

// Compiled for a start without anything above the accumulator, entered with something there, which stays.
TEST(ReductionLoops, EachEntryIsLookedAt) {
  const std::vector<uint64_t> words = EvenWords();
  std::vector<uint64_t> out{12};
  const TakenLoop taken =
      TakeOverLoop(CodeOf(&adds_in_half_a_register), [&] { adds_in_half_a_register(out.data(), words.data(), words.size()); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  for (const uint64_t start : {uint64_t{12}, uint64_t{0x1200000034}, uint64_t{0xfffffff0}, ~uint64_t{0}, uint64_t{1}}) {
    out = {start};
    adds_in_half_a_register(out.data(), words.data(), words.size());
    EXPECT_EQ(out[0], start) << Explain(taken);
  }
  EXPECT_GT(taken.region->executions.load(), 0u);
  EXPECT_GT(taken.Declines(jit::RejectionReason::kValuesKeepChanging), 0u);
  ASSERT_TRUE(PutBack(taken));
}

const Kernels kLevels[] = {LEVELS(KERNELS)};

INSTANTIATE_TEST_SUITE_P(Levels, Reductions, testing::ValuesIn(kLevels),
                         [](const auto& kernels) { return std::string(kernels.param.level); });

}  // namespace
}  // namespace tracelift::offload

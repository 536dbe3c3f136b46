// Searches: they stop at the place where they stop natively, wherever it lies; what chunks saw behind it has no effect.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/offload/taken_loop.h"

#define DECLARE(name)                                                                       \
  long search_##name##_O1(const unsigned char*, long, long, const unsigned char*, int);     \
  long search_##name##_O2(const unsigned char*, long, long, const unsigned char*, int);     \
  long search_##name##_O3(const unsigned char*, long, long, const unsigned char*, int);
extern "C" {
DECLARE(word)
DECLARE(row)
DECLARE(either)
DECLARE(last)
DECLARE(count_until)
DECLARE(last_before)
DECLARE(divide)
DECLARE(writes)
}

namespace tracelift::offload {
namespace {

using Kernel = long (*)(const unsigned char*, long, long, const unsigned char*, int);
constexpr long kPlaces = 3'000'000;

using Text = std::vector<unsigned char>;

// Few letters, so that comparisons go on for a while; none of it matches `Word`.
Text Letters() {
  std::mt19937 random(20261129);
  Text text(kPlaces);
  for (unsigned char& letter : text) letter = static_cast<unsigned char>('a' + random() % 4);
  return text;
}

const Text& Word() {
  static const Text word = {'a', 'b', 'a', 'c', 'z', 'a'};
  return word;
}

struct Search {
  Text text;
  long from = 0;
};

void Put(Text& text, long at) {
  std::copy(Word().begin(), Word().end(), text.begin() + std::clamp<long>(at, 0, kPlaces - static_cast<long>(Word().size())));
}

// One place to find, anywhere; none; many, near each other and far apart.
std::vector<Search> Searches() {
  const Text nothing = Letters();
  std::vector<Search> searches{{nothing, 0}};
  const auto add = [&](std::initializer_list<long> places, long from = 0) {
    searches.push_back({nothing, from});
    for (long at : places) Put(searches.back().text, at);
  };
  for (long at : {0L, 1L, 31L, 32L, 33L, 63L, 100L, 4095L, 4096L, 5000L, 12'345L, 100'000L, 999'999L, 2'000'001L}) add({at});
  for (long before : {6L, 7L, 8L, 37L, 38L, 39L, 1000L}) add({kPlaces - before});
  add({10, 2'500'000}, 11);
  add({10, 50, 90, 130, 60'000, 60'060, 60'120, 1'700'000, 1'700'006, 2'999'994});
  std::mt19937 random(7);
  for (int i = 0; i < 8; ++i) add({static_cast<long>(random() % kPlaces), static_cast<long>(random() % kPlaces)});
  return searches;
}

// All that the kernel finds, going on behind each place; `before` runs ahead of each entry.
std::vector<long> FindAll(Kernel kernel, const Search& search, const std::function<void()>& before) {
  constexpr int kMost = 20;
  std::vector<long> found;
  for (long from = search.from; static_cast<int>(found.size()) < kMost;) {
    before();
    const long at = kernel(search.text.data(), from, kPlaces, Word().data(), static_cast<int>(Word().size()));
    found.push_back(at);
    const long place = at < -1 ? -2 - at : at;
    if (place < from) break;
    from = place + 1;
  }
  return found;
}

enum class Runs { kElsewhere, kPerhaps };

void Check(Kernel kernel, Runs runs) {
  static const std::vector<Search> searches = Searches();
  std::vector<std::vector<long>> native;
  for (const Search& search : searches) native.push_back(FindAll(kernel, search, [] {}));
  std::vector<long> captured;
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] { captured = FindAll(kernel, searches[0], [] {}); });
  EXPECT_EQ(captured, native[0]);
  EXPECT_TRUE(taken.region != nullptr || runs == Runs::kPerhaps) << taken.why;
  if (taken.region == nullptr) return;
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (size_t i = 0; i < searches.size(); ++i) {
      EXPECT_EQ(FindAll(kernel, searches[i], [&] { taken.Forgive(); }), native[i]) << "search " << i << ", " << Explain(taken);
    }
  }
  EXPECT_EQ(taken.region->mismatches.load(), 0u) << Explain(taken);
  if (runs == Runs::kElsewhere) {
    EXPECT_GT(taken.region->executions.load(), 20u) << Explain(taken);
    EXPECT_GT(taken.region->verified.load(), 0u) << Explain(taken);
  }
  ASSERT_TRUE(PutBack(taken));
}

#define AT_LEVELS(NAME, KERNEL, RUNS)                                \
  TEST(Searches, NAME##O1) { Check(&search_##KERNEL##_O1, RUNS); } \
  TEST(Searches, NAME##O2) { Check(&search_##KERNEL##_O2, RUNS); } \
  TEST(Searches, NAME##O3) { Check(&search_##KERNEL##_O3, RUNS); }

AT_LEVELS(OfWords, word, Runs::kElsewhere)
AT_LEVELS(OfRows, row, Runs::kElsewhere)
AT_LEVELS(OfEitherOfTwo, either, Runs::kElsewhere)
AT_LEVELS(FromTheEnd, last, Runs::kElsewhere)
AT_LEVELS(ThatCount, count_until, Runs::kPerhaps)
AT_LEVELS(ThatKeepWhatTheySaw, last_before, Runs::kPerhaps)
AT_LEVELS(ThatWrite, writes, Runs::kPerhaps)

TEST(Searches, SeeNoNumbersThatTheyMustNotDivideBy) {
  for (const Kernel kernel : {&search_divide_O1, &search_divide_O2, &search_divide_O3}) {
    Text text(kPlaces, 2);
    std::fill(text.begin() + kPlaces / 2, text.end(), static_cast<unsigned char>(0));
    const auto find = [&] { return kernel(text.data(), 0, kPlaces, Word().data(), 6); };
    const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] { EXPECT_EQ(find(), kPlaces / 2); });
    ASSERT_NE(taken.region, nullptr) << taken.why;
    for (int repeat = 0; repeat < 5; ++repeat) {
      taken.Forgive();
      EXPECT_EQ(find(), kPlaces / 2) << Explain(taken);
    }
    EXPECT_EQ(taken.region->mismatches.load(), 0u);
    ASSERT_TRUE(PutBack(taken));
  }
}

// What lies behind the place where a search stops need not be readable.
TEST(Searches, StopAheadOfMemoryThatIsNotThere) {
  constexpr size_t kReadable = 2 << 20, kNot = 2 << 20;
  auto* text = static_cast<unsigned char*>(mmap(nullptr, kReadable + kNot, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(text, MAP_FAILED);
  std::memset(text, 'a', kReadable);
  const auto length = static_cast<long>(Word().size());
  const long last = static_cast<long>(kReadable) - length;
  std::copy(Word().begin(), Word().end(), text + last);
  const auto find = [&](long n) { return search_word_O2(text, 0, n, Word().data(), static_cast<int>(length)); };
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(&search_word_O2), [&] { EXPECT_EQ(find(last + length), last); });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  ASSERT_EQ(mprotect(text + kReadable, kNot, PROT_NONE), 0);
  for (int repeat = 0; repeat < 5; ++repeat) {
    taken.Forgive();
    EXPECT_EQ(find(static_cast<long>(kReadable + kNot)), last) << Explain(taken);
    taken.Forgive();
    EXPECT_EQ(find(last + length), last) << Explain(taken);
  }
  EXPECT_EQ(taken.region->mismatches.load(), 0u);
  ASSERT_TRUE(PutBack(taken));
  munmap(text, kReadable + kNot);
}

}  // namespace
}  // namespace tracelift::offload

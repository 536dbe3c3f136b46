// Chunks that meet a NaN in the middle of data which they overwrite: they are undone, and done again by the original.

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>

#include "tests/offload/random_data.h"
#include "tests/offload/taken_loop.h"

#define ALL(X, LEVEL)                                                                                  \
  X(scale, LEVEL)                                                                                      \
  X(rows, LEVEL) X(colours, LEVEL) X(triangle, LEVEL) X(several, LEVEL) X(twice, LEVEL) X(deep, LEVEL) \
      X(floats, LEVEL) X(chosen, LEVEL)
#define DECLARE(name, LEVEL) void undo_##name##_##LEVEL(double*, double*, int, int);
extern "C" {
ALL(DECLARE, O1)
ALL(DECLARE, O2)
ALL(DECLARE, O3)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, double*, int, int);

constexpr int kRows = 1200, kLength = 144;  // some hundred chunks
constexpr size_t kSize = size_t{kRows} * kLength;

// Different NaNs, of which the first operand counts, and what makes some.
double Odd(int which) {
  switch (which % 4) {
    case 0:
      return std::bit_cast<double>(uint64_t{0x7ff8000000000123});
    case 1:
      return std::bit_cast<double>(uint64_t{0xfff8000000000456});
    case 2:
      return std::numeric_limits<double>::infinity();
    default:
      return -std::numeric_limits<double>::infinity();
  }
}

enum class Numbers { kDoubles, kFloats };

std::vector<double> Data(const std::vector<size_t>& odd_at, Numbers numbers) {
  std::vector<double> data = RandomDoubles(3 * kSize);
  if (numbers == Numbers::kFloats) {
    const std::vector<float> floats = RandomFloats(6 * kSize);
    std::memcpy(data.data(), floats.data(), floats.size() * sizeof(float));
    for (size_t i = 0; i < odd_at.size(); ++i) {
      const uint32_t odd = i % 2 == 0 ? 0x7fc00123 : 0xffc00456;
      std::memcpy(&data[odd_at[i]], &odd, sizeof(odd));
      const uint32_t other = ~odd ^ 0x003fffff;
      std::memcpy(&data[kSize + odd_at[i]], &other, sizeof(other));
    }
    return data;
  }
  for (size_t i = 0; i < odd_at.size(); ++i) {
    data[odd_at[i]] = Odd(static_cast<int>(i));
    data[kSize + odd_at[i]] = Odd(static_cast<int>(i) + 1);
  }
  return data;
}

enum class Logs { kYes, kNo, kEither };

void ExpectSame(Kernel kernel, Logs logs, Numbers numbers = Numbers::kDoubles) {
  const auto run = [&](std::vector<double>& data) { kernel(data.data(), data.data() + kSize, kRows, kLength); };
  std::vector<std::vector<size_t>> places{{}, {kSize / 2 + 70}, {0}, {kSize - kLength - 3}, {}};
  for (size_t at = 5000; at < kSize; at += 30011) places.back().push_back(at);  // some chunks, each after one without
  places.push_back({});
  for (size_t at = 40000; at < 48000; at += 41) places.back().push_back(at);  // one chunk after the other
  std::vector<std::vector<double>> expected;
  for (const auto& odd_at : places) run(expected.emplace_back(Data(odd_at, numbers)));
  const TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] {
    std::vector<double> data = Data({}, numbers);
    run(data);
  });
  ASSERT_NE(taken.region, nullptr) << taken.why;
  if (logs != Logs::kEither) {
    EXPECT_EQ(taken.variant->artifact.logged.empty(), logs == Logs::kNo) << taken.variant->artifact.ir;
  }
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < places.size(); ++i) {
      taken.Forgive();
      taken.region->fruitless_entries = 0;
      std::vector<double> data = Data(places[i], numbers);
      run(data);
      ASSERT_EQ(std::memcmp(data.data(), expected[i].data(), data.size() * sizeof(double)), 0)
          << i << " " << Explain(taken);
    }
  }
  EXPECT_EQ(taken.region->mismatches.load(), 0u);
  EXPECT_GT(taken.region->executions.load(), places.size()) << Explain(taken);
  EXPECT_TRUE(PutBack(taken));
}

// gcc -O3 makes vectors of these, with a rest that only some entries have.
#define AT_LEVELS(NAME, KERNEL, LOGS, ...)                                                   \
  TEST(Undo, NAME##O1) { ExpectSame(&undo_##KERNEL##_O1, LOGS __VA_OPT__(, ) __VA_ARGS__); } \
  TEST(Undo, NAME##O2) { ExpectSame(&undo_##KERNEL##_O2, LOGS __VA_OPT__(, ) __VA_ARGS__); }
#define AT_ALL_LEVELS(NAME, KERNEL, LOGS) \
  AT_LEVELS(NAME, KERNEL, LOGS)           \
  TEST(Undo, NAME##O3) { ExpectSame(&undo_##KERNEL##_O3, Logs::kEither); }

AT_ALL_LEVELS(OneLoop, scale, Logs::kYes)
AT_ALL_LEVELS(Rows, rows, Logs::kYes)
AT_ALL_LEVELS(EveryOtherNumber, colours, Logs::kEither)
AT_ALL_LEVELS(RowsOfDifferentLength, triangle, Logs::kEither)
AT_ALL_LEVELS(SeveralArrays, several, Logs::kYes)
AT_ALL_LEVELS(TwiceInAPass, twice, Logs::kNo)
AT_ALL_LEVELS(ThreeLoops, deep, Logs::kYes)
AT_LEVELS(Floats, floats, Logs::kYes, Numbers::kFloats)
AT_ALL_LEVELS(DataDecide, chosen, Logs::kNo)

}  // namespace
}  // namespace tracelift::offload

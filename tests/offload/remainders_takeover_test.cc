// Loops whose addresses depend on the pass modulo a small power of two: the same bytes as natively, and passes that are
// independent run elsewhere.

#include <gtest/gtest.h>

#include "tests/offload/random_data.h"
#include "tests/offload/same_results.h"

#define ALL(X) X(red_black) X(backwards) X(four_colours) X(wrong_colour) X(in_turn) X(int_place) X(two_halves)
#define DECLARE(name)                                                    \
  void remainder_##name##_O0(double*, const double*, int, int);          \
  void remainder_##name##_O1(double*, const double*, int, int);          \
  void remainder_##name##_O2(double*, const double*, int, int);          \
  void remainder_##name##_O3(double*, const double*, int, int);
extern "C" {
ALL(DECLARE)
}

namespace tracelift::offload {
namespace {

using Kernel = void (*)(double*, const double*, int, int);

size_t PointsOf(int n) { return static_cast<size_t>(n) * static_cast<size_t>(n); }

// Sizes of both parities: what a row's neighbours have at the same distance from its begin differs.
void Check(Kernel kernel, Becomes becomes) {
  for (const int n : {1000, 1001}) {
    for (const int by : {0, 1}) {
      const size_t points = PointsOf(n);
      ExpectSame<double>(reinterpret_cast<const void*>(kernel), RandomDoubles(2 * points), [&](std::vector<double>& v) {
        kernel(v.data(), v.data() + points, n, by);
      }, becomes);
    }
  }
}

#define AT_LEVELS(NAME, KERNEL, AT_O0, AT_O1, AT_O2, AT_O3)                        \
  TEST(Remainders, NAME##O0) { Check(&remainder_##KERNEL##_O0, Becomes::AT_O0); }  \
  TEST(Remainders, NAME##O1) { Check(&remainder_##KERNEL##_O1, Becomes::AT_O1); }  \
  TEST(Remainders, NAME##O2) { Check(&remainder_##KERNEL##_O2, Becomes::AT_O2); }  \
  TEST(Remainders, NAME##O3) { Check(&remainder_##KERNEL##_O3, Becomes::AT_O3); }

// At -O3 two points go in one step, and what is left of a row, behind them, is of either colour as far as ranges tell.
AT_LEVELS(RedBlack, red_black, kAccelerated, kAccelerated, kAccelerated, kPerhaps)
AT_LEVELS(Backwards, backwards, kAccelerated, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(FourColours, four_colours, kAccelerated, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(WrongColour, wrong_colour, kLeftAlone, kLeftAlone, kLeftAlone, kLeftAlone)
AT_LEVELS(InTurn, in_turn, kAccelerated, kAccelerated, kAccelerated, kAccelerated)
AT_LEVELS(TwoHalves, two_halves, kAccelerated, kAccelerated, kAccelerated, kAccelerated)

// What all passes but the first have as an extended int is relied on to be one in the first, too.
TEST(Remainders, PlacesThatBeginAsLongs) {
  constexpr int kSize = 300;
  const size_t points = PointsOf(kSize);
  for (const Kernel kernel : {&remainder_int_place_O1, &remainder_int_place_O2, &remainder_int_place_O3}) {
    const std::vector<double> data = RandomDoubles(2 * points);
    const auto run = [&](std::vector<double>& v, int by) { kernel(v.data(), v.data() + points, kSize, by); };
    std::vector<double> native = data, traced = data;
    TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] { run(traced, 0); });
    ASSERT_NE(taken.region, nullptr) << taken.why;
    for (const int by : {0, 0, 0, 0, 0, 1, 0, 3}) {  // the first entries begin with passes of the original, to measure it
      run(native, by);
      run(traced, by);
      EXPECT_EQ(traced, native) << by << " " << Explain(taken);
    }
    EXPECT_GT(taken.region->executions.load(), 0u) << Explain(taken);
    EXPECT_TRUE(PutBack(taken));
  }
}

// What was taken for a size turns out to be the colour: compiled once more, it holds for both.
TEST(Remainders, ColoursTakeTurns) {
  constexpr int kSize = 600;
  const size_t points = PointsOf(kSize);
  for (const Kernel kernel : {&remainder_red_black_O0, &remainder_red_black_O1, &remainder_red_black_O2}) {
    const std::vector<double> data = RandomDoubles(2 * points);
    const auto half_round = [&](std::vector<double>& v, int colour) { kernel(v.data(), v.data() + points, kSize, colour); };
    std::vector<double> native = data, traced = data;
    for (int round = 0; round < 14; ++round) half_round(native, round % 2);
    TakenLoop taken = TakeOverLoop(reinterpret_cast<const void*>(kernel), [&] { half_round(traced, 0); });
    ASSERT_NE(taken.region, nullptr) << taken.why;
    half_round(traced, 1);
    half_round(traced, 0);
    EXPECT_GT(taken.Declines(jit::RejectionReason::kValuesKeepChanging), 0u);
    ASSERT_TRUE(TakeOverAgain(taken, [&] { half_round(traced, 1); })) << taken.why;
    const uint64_t before = taken.region->executions.load();
    for (int round = 4; round < 14; ++round) {
      taken.Forgive();
      half_round(traced, round % 2);
    }
    EXPECT_EQ(traced, native) << Explain(taken);
    EXPECT_GE(taken.region->executions.load(), before + 8) << Explain(taken);
    EXPECT_TRUE(PutBack(taken));
  }
}

}  // namespace
}  // namespace tracelift::offload

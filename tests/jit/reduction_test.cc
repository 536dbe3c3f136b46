// Reductions against sums, logic and extremes as C++ has them: in any order, from any grouping, the same bits.

#include "jit/reduction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <random>
#include <vector>

namespace tracelift::jit {
namespace {

constexpr ReductionKind kKinds[] = {ReductionKind::kAdd,  ReductionKind::kAnd,  ReductionKind::kOr,   ReductionKind::kXor,
                                    ReductionKind::kSMin, ReductionKind::kSMax, ReductionKind::kUMin, ReductionKind::kUMax};

// One step of the loop that is reduced, for values of type U, signed S.
template <typename U, typename S>
U Step(ReductionKind kind, U a, U b) {
  const auto signed_a = static_cast<S>(a), signed_b = static_cast<S>(b);
  switch (kind) {
    case ReductionKind::kAdd: return static_cast<U>(a + b);
    case ReductionKind::kAnd: return a & b;
    case ReductionKind::kOr: return a | b;
    case ReductionKind::kXor: return a ^ b;
    case ReductionKind::kSMin: return static_cast<U>(std::min(signed_a, signed_b));
    case ReductionKind::kSMax: return static_cast<U>(std::max(signed_a, signed_b));
    case ReductionKind::kUMin: return std::min(a, b);
    case ReductionKind::kUMax: return std::max(a, b);
    case ReductionKind::kFAdd:
    case ReductionKind::kFMul: break;  // below
  }
  return a;
}

template <typename U, typename S>
void ExpectAnyOrderGivesTheSame(ReductionKind kind, std::mt19937_64& random) {
  const Reduction reduction{kind, sizeof(U) * 8};
  std::vector<U> values(50);
  for (U& value : values) value = static_cast<U>(random() >> (random() % 3 == 0 ? 40 : 0));
  const auto start = static_cast<U>(random());
  U expected = start;
  for (const U value : values) expected = Step<U, S>(kind, expected, value);
  std::ranges::shuffle(values, random);

  const size_t parts = 1 + random() % 7;
  std::vector<uint64_t> partial(parts, NeutralValue(reduction));
  for (const U value : values) {
    uint64_t& part = partial[random() % parts];
    part = Combine(reduction, part, value);
  }
  uint64_t all = start;
  for (const uint64_t part : partial) all = Combine(reduction, part, all);
  EXPECT_EQ(all, expected) << static_cast<int>(kind) << " of " << sizeof(U) * 8 << " bits";
}

TEST(Reduction, AnyOrderAndGroupingGivesTheSame) {
  std::mt19937_64 random(1);
  for (const ReductionKind kind : kKinds) {
    for (int i = 0; i < 200; ++i) {
      ExpectAnyOrderGivesTheSame<uint8_t, int8_t>(kind, random);
      ExpectAnyOrderGivesTheSame<uint16_t, int16_t>(kind, random);
      ExpectAnyOrderGivesTheSame<uint32_t, int32_t>(kind, random);
      ExpectAnyOrderGivesTheSame<uint64_t, int64_t>(kind, random);
    }
  }
}

TEST(Reduction, NothingChangesWithTheNeutralValue) {
  for (const ReductionKind kind : kKinds) {
    for (const uint8_t bits : {8, 16, 32, 64}) {
      const Reduction reduction{kind, bits};
      constexpr uint64_t kBytes = ~uint64_t{0} / 255;  // 1 in each
      for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, kBytes * 128, kBytes * 127}) {
        const uint64_t value = LowBits(seed, bits);
        EXPECT_EQ(Combine(reduction, value, NeutralValue(reduction)), value);
        EXPECT_EQ(Combine(reduction, NeutralValue(reduction), value), value);
      }
    }
  }
}

template <typename Float, typename Bits>
void ExpectFloats(uint8_t bits) {
  const auto as_bits = [](Float value) { return uint64_t{std::bit_cast<Bits>(value)}; };
  const Reduction sum{ReductionKind::kFAdd, bits}, product{ReductionKind::kFMul, bits};
  for (Float value : {Float{0}, -Float{0}, Float{1.5}, -std::numeric_limits<Float>::denorm_min(), std::numeric_limits<Float>::infinity()}) {
    EXPECT_EQ(Combine(sum, NeutralValue(sum), as_bits(value)), as_bits(value));  // of zeros, too
    EXPECT_EQ(Combine(product, NeutralValue(product), as_bits(value)), as_bits(value));
  }
  EXPECT_EQ(Combine(sum, as_bits(Float{0.1f}), as_bits(Float{0.2f})), as_bits(Float{0.1f} + Float{0.2f}));
  EXPECT_EQ(Combine(product, as_bits(Float{0.1f}), as_bits(Float{0.2f})), as_bits(Float{0.1f} * Float{0.2f}));
}

TEST(Reduction, OfFloats) {
  ExpectFloats<double, uint64_t>(64);
  ExpectFloats<float, uint32_t>(32);
}

}  // namespace
}  // namespace tracelift::jit

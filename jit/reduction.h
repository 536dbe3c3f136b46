// Operations that give the same bits in whatever order values are combined: integer sums, logic, extremes. So chunks of a
// loop may each reduce their own passes, from the neutral value, and the results be combined in any order. Sums and products of
// floats are reduced where relaxed math is asked for; their bits depend on the order.
#pragma once

#include <bit>
#include <cstdint>

namespace tracelift::jit {

enum class ReductionKind : uint8_t { kAdd, kAnd, kOr, kXor, kSMin, kSMax, kUMin, kUMax, kFAdd, kFMul };

constexpr bool IsFloat(ReductionKind kind) { return kind == ReductionKind::kFAdd || kind == ReductionKind::kFMul; }

/// Values have `bits` (8 to 64; 32 or 64 of a float) and are kept zero-extended.
struct Reduction {
  ReductionKind kind = ReductionKind::kAdd;
  uint8_t bits = 64;
  bool operator==(const Reduction&) const = default;
};

constexpr uint64_t LowBits(uint64_t value, uint8_t bits) {
  return bits == 64 ? value : value & ((uint64_t{1} << bits) - 1);
}

/// What combines with any value to that value.
constexpr uint64_t NeutralValue(Reduction reduction) {
  const uint64_t all = LowBits(~uint64_t{0}, reduction.bits), sign = uint64_t{1} << (reduction.bits - 1);
  switch (reduction.kind) {
    case ReductionKind::kAdd:
    case ReductionKind::kOr:
    case ReductionKind::kXor:
    case ReductionKind::kUMax:
      return 0;
    case ReductionKind::kAnd:
    case ReductionKind::kUMin:
      return all;
    case ReductionKind::kSMin:
      return all ^ sign;
    case ReductionKind::kSMax:
      return sign;
    case ReductionKind::kFAdd:  // the negative zero
      return sign;
    case ReductionKind::kFMul:
      return reduction.bits == 32 ? std::bit_cast<uint32_t>(1.0f) : std::bit_cast<uint64_t>(1.0);
  }
  return 0;
}

template <typename Float, typename Bits>
constexpr uint64_t CombineFloats(ReductionKind kind, uint64_t a, uint64_t b) {
  const auto x = std::bit_cast<Float>(static_cast<Bits>(a)), y = std::bit_cast<Float>(static_cast<Bits>(b));
  return std::bit_cast<Bits>(kind == ReductionKind::kFAdd ? x + y : x * y);
}

constexpr uint64_t Combine(Reduction reduction, uint64_t a, uint64_t b) {
  const uint64_t sign = uint64_t{1} << (reduction.bits - 1);
  switch (reduction.kind) {
    case ReductionKind::kAdd:
      return LowBits(a + b, reduction.bits);
    case ReductionKind::kAnd:
      return a & b;
    case ReductionKind::kOr:
      return a | b;
    case ReductionKind::kXor:
      return a ^ b;
    case ReductionKind::kSMin:  // with the sign flipped, the order is that of unsigned values
      return (a ^ sign) < (b ^ sign) ? a : b;
    case ReductionKind::kSMax:
      return (a ^ sign) < (b ^ sign) ? b : a;
    case ReductionKind::kUMin:
      return a < b ? a : b;
    case ReductionKind::kUMax:
      return a < b ? b : a;
    case ReductionKind::kFAdd:
    case ReductionKind::kFMul:
      return reduction.bits == 32 ? CombineFloats<float, uint32_t>(reduction.kind, a, b) : CombineFloats<double, uint64_t>(reduction.kind, a, b);
  }
  return a;
}

}  // namespace tracelift::jit

// How each vector register and slot of a region is kept: as scalars of 64 or 32 bits, integer or float.
//
// LLVM's loop vectoriser refuses loops that already contain vectors, and its analyses see little behind bit casts. So a
// register is kept in lanes of the type that most of its users want; the others convert. Private to jit/lift.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

enum class LaneKind : uint8_t { kI64, kF64, kI32, kF32 };

constexpr int LaneBits(LaneKind kind) { return kind == LaneKind::kI64 || kind == LaneKind::kF64 ? 64 : 32; }
constexpr bool IsFloat(LaneKind kind) { return kind == LaneKind::kF64 || kind == LaneKind::kF32; }

struct LaneKinds {
  std::array<LaneKind, kVectorCount> vector{};
  std::vector<LaneKind> slot;  // per slot; for those shorter than a lane, only IsFloat counts, when the size fits
};

LaneKinds ChooseLanes(const DecodedFunction& function, const LoopFacts& facts);

}  // namespace tracelift::jit

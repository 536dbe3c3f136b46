// Which loops of a function can be lifted, and why the others cannot: what `tracelift coverage` counts.
//
// Liftable means that AnalyseLoop accepts the control flow and LiftLoop makes IR of every instruction. Whether the loop
// can then be run elsewhere depends on the data it meets, which no file tells.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "jit/function_code.h"
#include "jit/rejection.h"

namespace tracelift::jit {

/// What a loop does with floats. Moves, shuffles and bit operations of whole vectors do not count: compilers use those
/// of the float domain for integers, too.
enum class FloatUse : uint8_t {
  kNone,
  kScalar,  // scalar arithmetic, comparisons, conversions and moves; x87
  kVector,  // packed arithmetic, comparisons, conversions
};

struct LoopCoverage {
  uint64_t header = 0;
  int depth = 1;
  bool is_innermost = true;
  int instruction_count = 0;
  FloatUse float_use = FloatUse::kNone;
  bool uses_x87 = false;  // long double, whose 80 bits nothing but x87 computes
  std::optional<Rejection> rejection;  // none: it can be lifted
  /// With kUnsupportedInstruction: the forms of instruction that are not lifted, each once: "vaddpd", "lock add".
  std::vector<std::string> unlifted;
};

/// In the order of FunctionCode::loops. Functions that a loop calls are looked for through `reader`, which `function` was
/// decoded from. Thread rule: any number of threads may ask, also about the same function.
std::vector<LoopCoverage> CoverLoops(const CodeReader& reader, const FunctionCode& function, bool innermost_only);

}  // namespace tracelift::jit

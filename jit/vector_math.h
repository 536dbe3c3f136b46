// Relaxed math: libm's functions in vectors, by glibc's libmvec, whose results differ from libm's by up to 4 units in the last
// place (glibc manual, "Errors in Math Functions", and the libmvec wiki page). Never used unless the user asks for it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "jit/code_reader.h"

namespace tracelift::jit {

struct MathFunction {
  KnownCallee callee = KnownCallee::kNone;
  const char* name = nullptr;       // as libm has it
  const char* operation = nullptr;  // the name for double
  int arguments = 1;                // of the result's type
  bool is_float = false;            // float rather than double
};

/// Null when `callee` is none of jit/vector_math.def.
const MathFunction* MathFunctionOf(KnownCallee callee);

/// Null when there is none.
const MathFunction* MathFunctionNamed(std::string_view operation, bool is_float);

/// libmvec's name for `lanes` of `function` at once, in the vectors of `isa`: 'b' SSE, 'c' AVX, 'd' AVX2, 'e' AVX-512 (x86 vector
/// function ABI).
std::string VectorFormOf(const MathFunction& function, char isa, int lanes);

/// libmvec as this process can load it. Thread rule: constant once opened.
class VectorMath {
 public:
  /// Knows nothing.
  VectorMath() = default;
  /// Opens libmvec beside the program's libraries, for good; what it has not got stays unknown.
  static VectorMath Open();

  /// The function at `address`, its entry in libm; kNone when it is another one, or has no vector forms.
  KnownCallee CalleeAt(uint64_t address) const;
  /// All that compiled code may call: libm's functions and their vector forms.
  const std::map<std::string, uint64_t>& symbols() const { return symbols_; }

 private:
  std::map<uint64_t, KnownCallee> callees_;
  std::map<std::string, uint64_t> symbols_;
};

}  // namespace tracelift::jit

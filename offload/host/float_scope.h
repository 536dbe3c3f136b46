// The program's float environment on a thread that runs compiled code for it: the thread of the program, whose dispatch
// runs under the default one, or a helper.
#pragma once

#include <immintrin.h>

#include "jit/float_environment.h"

namespace tracelift::offload {

/// Sets rounding and the treatment of denormals as in `mxcsr`, with all exceptions masked and none raised; the scope's end
/// puts back what was before.
class FloatScope {
 public:
  explicit FloatScope(uint32_t mxcsr) : before_(_mm_getcsr()) {
    _mm_setcsr(jit::MxcsrFor(jit::FloatControlOf(mxcsr)));
  }
  ~FloatScope() { _mm_setcsr(before_); }
  FloatScope(const FloatScope&) = delete;
  FloatScope& operator=(const FloatScope&) = delete;

  /// Exceptions since then, as sticky flags.
  uint32_t raised() const { return _mm_getcsr() & jit::kMxcsrSticky; }

 private:
  const uint32_t before_;
};

}  // namespace tracelift::offload

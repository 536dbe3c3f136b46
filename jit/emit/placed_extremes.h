// The largest value and where it was: `if (value > best) { best = value; at = i; }`. Private to jit/emit.
//
// What goes round the loop then is several values that are set together. They become one number of 64 bits: the value
// in the upper half, so mapped that larger numbers are better; in the lower half when it was met, so that of equal
// values the one is larger that the original keeps, the first or the last. The greatest of such numbers is a reduction
// like any other (jit/emit/reduction_web.h), in any order; and `at` is a function of when, where it is affine in the
// counters.
//
// For values of up to 32 bits, in one loop or a nest of two. Left out: floats, places that are loaded.
#pragma once

#include "jit/emit/loop_shape.h"

namespace tracelift::jit {

/// Rewrites such variables of shape.loop, whose exits are known already, relying on there being few enough iterations.
void ExposePlacedExtremes(const LoopShape& shape, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

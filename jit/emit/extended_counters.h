// `long at = 0; for (...) at = (int)at + width;`: a 64-bit register that gets, in each iteration, a number of 32 bits
// extended again. Nothing says that the number never wraps, so ScalarEvolution knows no recurrence for it; but the
// number itself has one. Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>

namespace tracelift::jit {

/// Replaces header phis of the nest that are extensions in each iteration by a narrow phi, extended, where that one is
/// a recurrence. What the region's own loop starts with is relied on to be extended, too.
void ExposeExtendedCounters(llvm::Loop& region, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

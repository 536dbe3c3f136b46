// Loops over a small array that each pass writes anew: `double f[9]; for (d = 0; d < 9; d++) f[d] = ...`. As loops,
// their stores meet those of all other passes, and what they read from tables of constants looks like data. Private to
// jit/emit.
#pragma once

#include "jit/machine_state.h"

namespace llvm {
class Function;
}  // namespace llvm

namespace tracelift::jit {

struct Analyses;

/// Unrolls the inner loops of few and constant iterations that access memory at addresses which depend on nothing but
/// such loops' counters, if something in the region stores to such an address in one. True when anything changed:
/// analyses are then out of date; simplify again. Registers that point into the stack then tell so: their distances
/// from rsp are taken to be what `seen` shows, facts checked at entry (RelyOn). With `fixed_ends`, so are those of the
/// ends of such loops, where they are pointers since before the region.
bool UnrollShortLoops(llvm::Function& function, Analyses& analyses, const MachineState& seen, bool fixed_ends);

}  // namespace tracelift::jit

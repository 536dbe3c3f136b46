// Wavefronts: passes that need what the pass before them wrote, run side by side in the lanes of vectors, each a few
// iterations of the inner loop behind the one before it (jit/emit/stagger_passes.h). Private to jit/emit.
//
// What a lane reads of the row above has been written by then, and what it overwrites has been read: for each pair of
// accesses that meet, on the state seen when the plan is made, and on that of every entry (Reliance::wavefront). Passes
// that make no whole group run one by one. Such an artifact runs its passes in order (Artifact::parts).
#pragma once

#include <vector>

#include "jit/emit/host_target.h"
#include "jit/emit/seen_footprint.h"

namespace tracelift::jit {

/// How passes may be staggered, when each depends on the one before it; before the function becomes a chunk function. Relies
/// on rows being as wide as in the state observed.
Wavefront PlanWavefront(llvm::Loop& region, llvm::ScalarEvolution& evolution, const SeenFootprint& seen,
                        const std::vector<AccessBy>& accesses_by, const MachineState& observed, int vector_bits);

/// Makes a finished chunk function run groups of passes so. False when it was left as it is.
bool RunAsWavefront(llvm::Function& function, Analyses& analyses, const Wavefront& wavefront);

}  // namespace tracelift::jit

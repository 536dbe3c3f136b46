// Passes of a nest, each some iterations of the inner loop behind the pass before it, so that they can run side by side
// although each needs what the one before it wrote. Private to jit/emit.
//
//   for pass: ahead; for j in n: body; behind
//
// becomes
//
//   for pass: for step in n + (lanes - 1) * skew: j = step - pass * skew;
//     if j is 0: ahead;  if 0 <= j < n: body;  if j is n - 1: behind
//
// where `pass` counts from the start of a group of `lanes` passes. Each pass does what it did, in the same order. All
// passes make the same steps, and so can be the lanes of a wide loop (jit/emit/wide_loop.h), which does a step of all
// passes before the next one. Whether that is the same is a question to the footprint (CheckWavefront).
#pragma once

#include "jit/emit/host_target.h"

namespace tracelift::jit {

/// The one loop inside the region's, when the nest has the shape above: it runs in every pass, equally often, and both
/// loops have one end; null otherwise.
llvm::Loop* InnerLoopOf(llvm::Loop& region, llvm::ScalarEvolution& evolution);

/// Every iteration of it comes by this block.
const llvm::BasicBlock* EndOfIteration(const llvm::Loop& inner, const llvm::Loop& region);

/// Rewrites a chunk function of which nothing but what it does to memory is asked, and that is called for one group of
/// passes. False when it is of no use any more, the region having another shape.
bool StaggerPasses(llvm::Function& function, Analyses& analyses, unsigned lanes, unsigned skew);

}  // namespace tracelift::jit

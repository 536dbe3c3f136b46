// A loop that counts in steps of a size that is only known when it runs (`for (i = 0; i < n; i += length)`) has no
// number of passes: were the step 0 or negative, or n so large that a step leads behind the largest number there is, it
// might never end. Where that is ruled out, the number of passes is that of the steps up to the bound.
#pragma once

namespace llvm {
class LoopInfo;
class ScalarEvolution;
}  // namespace llvm

namespace tracelift::jit {

/// Counts such loops with counters of their own, from 0 in steps of one. The chunk relies on what is said above
/// (RelyOn), so only for steps and bounds that no pass of the region's loop changes. True when anything changed;
/// `evolution` knows.
bool CountSteps(llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

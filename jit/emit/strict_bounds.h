// `j <= n` gives no number of passes: were n the largest number there is, the loop would never end. Where that is ruled out
// the comparison becomes `j < n + 1`, which does.
#pragma once

namespace llvm {
class LoopInfo;
class ScalarEvolution;
}  // namespace llvm

namespace tracelift::jit {

/// Does so in all loops whose exits have no count yet: a condition on the way to the loop may rule it out (j <= i, where i
/// is below something itself); for a bound that no pass of the region's loop changes, the chunk relies on it (RelyOn).
/// True when anything changed; `evolution` knows.
bool MakeBoundsStrict(llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

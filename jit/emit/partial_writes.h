// A register of which a loop only writes the low part (`mov dx, ax`) passes its upper part on from pass to pass, which looks
// like a value carried.
#pragma once

namespace llvm {
class LoopInfo;
}  // namespace llvm

namespace tracelift::jit {

/// Where all values that a variable of a loop takes agree with its start in some bits, what looks at these bits only looks
/// at the start instead. True when anything changed: simplify again then.
bool ReadUnwrittenPartsFromStart(llvm::LoopInfo& loops);

}  // namespace tracelift::jit

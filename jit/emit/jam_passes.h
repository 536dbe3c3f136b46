// Several passes of the region's loop at once, instruction by instruction: what they all read is then read once for all
// of them. Private to jit/emit.
//
// The passes are independent (checked on the real ranges at every entry), so their instructions may be interleaved in
// any way; each pass keeps its own order, so every result keeps its bits. Only for nests whose control flow is the same
// in all passes, and which read memory at addresses that do not depend on the pass: a matrix product reads each column
// of A once for four columns of C.
#pragma once

#include <llvm/IR/Function.h>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

inline constexpr int kJammedPasses = 4;

/// `function` is a finished chunk function. True when it now runs kJammedPasses at a time, with a copy of the former
/// code for what remains.
bool JamPasses(llvm::Function& function, Analyses& analyses);

/// The same for a function that is only called for multiples of kJammedPasses.
bool JamInPlace(llvm::Function& function, Analyses& analyses);

}  // namespace tracelift::jit

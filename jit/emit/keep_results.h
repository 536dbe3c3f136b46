// Results that a loop writes in each iteration, in one place, while it reads what might be the same bytes: x[i] -= l[i][k] *
// x[k]. Nobody can tell ahead of time that row i is none of the rows k, but the loop's bounds can, just before it. So
// there are two versions of such a loop; in the one that runs where the bytes are apart, results stay in registers.
// Private to jit/emit.
#pragma once

#include <llvm/IR/Function.h>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

/// Makes two versions of innermost loops where that keeps a result in a register; LICM does the rest.
void KeepResultsInRegisters(llvm::Function& function, Analyses& analyses);

}  // namespace tracelift::jit

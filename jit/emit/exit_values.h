// Values that an inner loop or the arms of a branch leave behind, as expressions over what was there before. A pointer
// that inner loops move on is an induction variable of the outer loop only when its value after the inner loop can be
// seen without counting that loop's passes. Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Dominators.h>

namespace tracelift::jit {

/// Returns true when anything changed. Loops must be in simplified form.
bool RewriteExitValues(llvm::Function& function, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution,
                       const llvm::DominatorTree& dominators);

}  // namespace tracelift::jit

// Reductions (jit/emit/settled_state.h) go from pass to pass. Where passes run side by side, each leaves what it comes
// to in a place of its own, and behind the loop all of them are combined, in the way in which one was with what earlier
// chunks did. Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Instructions.h>

#include <optional>
#include <vector>

namespace tracelift::jit {

/// For a chunk function that is called for `lanes` passes. The phis of the reductions, which are to be replaced by what
/// they start with; nullopt when anything else goes from pass to pass.
std::optional<std::vector<llvm::PHINode*>> ReduceByPass(llvm::Loop& region, llvm::ScalarEvolution& evolution,
                                                        unsigned lanes);

}  // namespace tracelift::jit

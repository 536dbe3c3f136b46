// A chunk function that runs groups of passes faster than single ones. Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/IR/Function.h>
#include <llvm/IR/IRBuilder.h>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

enum class GroupState : bool { kLeft, kNotLeft };  // whether the grouped code leaves the state after its last pass

/// Emits the run of `passes` passes, whole groups, that leaves its state in `out` unless that is null.
using RunGroups = llvm::function_ref<void(llvm::IRBuilder<>& builder, llvm::Value* passes, llvm::Value* out)>;

/// Makes chunk function `function` run whole groups of `size` passes (a power of two) so, and the others by `single`,
/// in this order.
void DispatchGroups(llvm::Function& function, llvm::Function& single, int size, GroupState state, RunGroups run_groups);

/// The same with groups that `grouped` runs.
void DispatchGroups(llvm::Function& function, llvm::Function& grouped, llvm::Function& single, int size,
                    GroupState state);

/// The region's own loop, once what a chunk function replaced is gone; null when there is not exactly one outermost
/// loop.
llvm::Loop* RegionLoopOf(llvm::Function& function, Analyses& analyses);

/// A copy of `function` for the module's own use.
llvm::Function* CloneAs(llvm::Function& function, const char* suffix);

}  // namespace tracelift::jit

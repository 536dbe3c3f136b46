// Stores that pass after pass would make to the same place, on ways that a pass need not take: errno on an error path, a flag
// that something was found. Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>

namespace tracelift::jit {

/// Passes that write the same bytes depend on each other, so that every entry would be declined. Where the loop can go round
/// without such a store, arriving at it becomes a detour: the original does what the chunk did again, and the store. True
/// when there were any; analyses are then out of date.
bool LeaveAtRareStores(llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

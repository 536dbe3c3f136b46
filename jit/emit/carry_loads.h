// Reads of what the iteration before has read or written already: kept in registers instead. Private to jit/emit.
//
// Compilers keep what a row has just computed; that a[i-1][j] was a[i-1][j+1] an iteration ago they leave to the cache.
// Where a read is a gather for all lanes, it is worth a register.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>

namespace tracelift::jit {

/// Of an innermost loop with a preheader and a latch. What is read first is read ahead of the loop, which it is entered
/// for at least one iteration. Analyses of values stay right.
void CarryLoads(llvm::Loop& loop, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

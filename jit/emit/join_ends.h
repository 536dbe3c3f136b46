// Loops whose end the compiler has copied to each way through the body (`if (x) {...; i++; if (i == n) break;} else {i++;
// if (i == n) break;}`) get one end again. Private to jit/emit.
//
// ScalarEvolution counts the passes of a loop by exits that every pass comes by; of two such ends each is passed only
// sometimes.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/Function.h>

namespace tracelift::jit {

/// Joins the ends of one loop. True when it found one to do: analyses of control flow are then out of date, and there may be
/// more. Loops must be in simplified form.
bool JoinEnds(llvm::LoopInfo& loops, llvm::DominatorTree& dominators);

/// Ways back to a loop's header that all advance some counter of it alike (`continue`) get one latch. Else LLVM takes what one
/// of them leaves as it is for a sign of two nested loops. True when it found some: loops are then to be simplified.
bool JoinLatches(llvm::LoopInfo& loops);

}  // namespace tracelift::jit

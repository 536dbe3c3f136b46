// Blocks of memory that each pass of a nest fills, as loops over the elements that the rest of the nest works on: what
// cuts such loops into pieces can then cut the fills too. Where nothing does, LLVM makes fills of them again. Private
// to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>

namespace tracelift::jit {

/// True when anything changed; analyses are then out of date.
bool ExpandFills(llvm::Loop& region);

}  // namespace tracelift::jit

// Two buffers that take turns: `kept = from; from = to; to = kept`. Neither pointer is a recurrence, but each is one of
// two values by the parity of the pass, which footprints tell apart (phases, jit/footprint.h). Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>

namespace tracelift::jit {

/// Replaces pairs of header variables of `loop` that are exchanged in each pass by functions of a new counter.
void ExposeAlternatingValues(llvm::Loop& loop, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

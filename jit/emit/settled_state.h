// Reductions over chunks: each chunk starts from the neutral value and adds what its passes make to the thread's partial
// result (ChunkResult); when all are done, a call for no passes combines the value at entry with that of all chunks, and
// stores what the state at the end has of it. Private to jit/emit.
#pragma once

#include <llvm/IR/Function.h>

#include <vector>

#include "jit/emit/loop_shape.h"

namespace tracelift::jit {

/// Whether all that the state at the end has of reductions is computed from what they have come to.
bool CanSettleReductions(llvm::Function& function, const LoopShape& shape);

/// The stores to the state at the end that a call for no passes does instead. Before anything is rewritten.
std::vector<llvm::StoreInst*> StoresOfReductions(llvm::Function& function, const LoopShape& shape);

/// Does `stores` before `where` instead, for what the reductions come to with the partial results in the ChunkResult.
void SettleReductions(llvm::Function& function, const LoopShape& shape, const std::vector<llvm::StoreInst*>& stores,
                      llvm::Instruction* where);

/// Makes the passes of a chunk start from the neutral values, and combines at `where`, after the last of them, what they came
/// to with the partial results. The values of the webs are then unused.
void ReduceByChunk(llvm::Function& function, const LoopShape& shape, llvm::Instruction* where);

}  // namespace tracelift::jit

// The state at the header after any number of passes, without running them. Private to jit/emit.
//
// When every register a chunk leaves behind is an affine function of the pass, passes that a chunk failed to do (a NaN
// appeared) can be done alone by the original: it is put at the header with the state before them.
#pragma once

#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Function.h>

#include <optional>
#include <vector>

#include "jit/emit/loop_shape.h"

namespace tracelift::jit {

/// One store to the state at the end, as a function of the number of passes done.
struct SoughtValue {
  uint64_t offset = 0;               // in MachineState
  const llvm::SCEV* scev = nullptr;  // or, for what does not change:
  llvm::Value* invariant = nullptr;
};

/// Before anything is rewritten; nullopt when the state depends on more than the number of passes. Without what the stores
/// `others` write.
std::optional<std::vector<SoughtValue>> FindSoughtState(llvm::Function& function, const LoopShape& shape,
                                                        llvm::ScalarEvolution& evolution,
                                                        const std::vector<llvm::StoreInst*>& others);

/// Makes a call with count == 0 store the state after `first` passes to `out` and return. The return, for more to come ahead
/// of it.
llvm::Instruction* AddSeek(llvm::Function& function, const LoopShape& shape, const std::vector<SoughtValue>& state,
                           llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

// All addresses of the program are offsets from one pointer that nothing is known of (jit/lift). Private to jit/emit.
#pragma once

#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Function.h>

namespace tracelift::jit {

/// Whether `value` is that pointer.
bool IsProgramMemory(const llvm::Value* value);

/// That pointer.
llvm::Value* ProgramMemory(llvm::Function& function);

/// The address that `pointer` stands for, an integer; null when it is not known to be an offset from the program's
/// memory: one of several pointers, or a place of our own.
const llvm::SCEV* AddressOf(llvm::Value* pointer, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

// Reads that must stay inside some memory, which only their data can tell. Private to jit/emit.
#pragma once

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Instructions.h>

namespace tracelift::jit {

/// Makes `load` read at `first` instead, and sets `strayed`, an i1, where its address lies outside [first, first +
/// last]. The builder is at the load.
void KeepInside(llvm::LoadInst* load, llvm::Value* first, llvm::Value* last, llvm::AllocaInst* strayed,
                llvm::IRBuilder<>& builder);

}  // namespace tracelift::jit

// A chunk function that runs groups of passes faster than single ones. Private to jit/emit.
#pragma once

#include <llvm/IR/Function.h>
#include <llvm/IR/IRBuilder.h>

namespace tracelift::jit {

enum class GroupState : bool { kLeft, kNotLeft };  // whether the grouped code leaves the state after its last pass

/// How many of the passes asked of chunk function `function` run in whole groups of `size`.
llvm::Value* WholeGroups(llvm::IRBuilder<>& builder, llvm::Function& function, int size, GroupState state);

/// Makes `function` call `grouped` for whole groups of `size` passes (a power of two) and `single` for the others, in
/// this order.
void DispatchGroups(llvm::Function& function, llvm::Function& grouped, llvm::Function& single, int size,
                    GroupState state);

/// A copy of `function` for the module's own use.
llvm::Function* CloneAs(llvm::Function& function, const char* suffix);

}  // namespace tracelift::jit

// What LLVM is to do with a loop, or not to. Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>

namespace tracelift::jit {

void AddProperty(llvm::Loop& loop, llvm::MDNode* property);

/// It is not unrolled.
void KeepWhole(llvm::Loop& loop);

/// So many of its iterations become one.
void RepeatBody(llvm::Loop& loop, unsigned iterations);

/// No vectors are made of its iterations.
void KeepScalar(llvm::Loop& loop);

}  // namespace tracelift::jit

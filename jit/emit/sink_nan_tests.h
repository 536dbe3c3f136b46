// A sum that has become NaN stays NaN: tested once behind its loop instead of after each addition. Private to jit/emit.
#pragma once

#include <llvm/IR/Function.h>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

/// For chunk functions whose flags are kept in registers already.
void SinkNaNTests(llvm::Function& function, Analyses& analyses);

}  // namespace tracelift::jit

// Several results for each thread of a kernel, where they read something alike: the function of one result (jit/emit/result_function.h)
// becomes one of some rows and columns of results. Private to jit/emit.
#pragma once

#include <llvm/IR/Function.h>

#include "jit/emit/tile_shape.h"
#include "jit/kernel.h"

namespace tracelift::jit {

/// What the function returns when the results must be computed one by one; nothing was stored.
inline constexpr uint32_t kNotTogether = ~0u;

struct TileFunction {
  TileShape shape;
  /// i32 (as ResultFunction::function, the place being the first result's, then i64 first row, i64 first column that are stored):
  /// kFlag* of all, or kNotTogether. Null where a thread had better do a single result.
  llvm::Function* function = nullptr;
};

/// In the module of `result`, which stays as it is.
TileFunction MakeTileFunction(llvm::Function& result, const Kernel& kernel);

}  // namespace tracelift::jit

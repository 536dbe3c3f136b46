// Iterations of one loop of the nest in the lanes of vectors, with the loops inside it: where strict math keeps a
// loop's own iterations in order (sums, recurrences, searches), those of a loop around it need not be. Private to
// jit/emit.
//
// That the iterations are independent is checked on the real ranges at every entry. Each lane keeps the order of its
// own operations, so every result keeps its bits.
#pragma once

#include <llvm/IR/Function.h>

#include "jit/emit/host_target.h"
#include "jit/emit/lane_code.h"

namespace tracelift::jit {

struct VectorUnit {
  int bits = 128;
  bool gathers_fast = false;
};

struct WidenedLoop {
  bool passes = false;  // the region's own loop: the function now takes `lanes` passes at a time
  int lanes = 0;        // 0: nothing was done
  const llvm::BasicBlock* header = nullptr;
};

/// Which loops may be widened: told by their headers.
using MayWiden = llvm::function_ref<bool(const llvm::BasicBlock* header)>;

/// Whether WidenLoop would do something.
bool GainsByWidening(llvm::Function& function, Analyses& analyses, const VectorUnit& vectors, MayWiden may_widen);

/// `function` is a finished chunk function. Widens the loop that gains most, if one does.
WidenedLoop WidenLoop(llvm::Function& function, Analyses& analyses, const VectorUnit& vectors, MayWiden may_widen, Reads reads);

}  // namespace tracelift::jit

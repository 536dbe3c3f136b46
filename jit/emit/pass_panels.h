// Panels: of a nest whose passes all read the same large array, a piece of it that fits into the cache is used by all passes of a
// chunk before the next piece is read. Private to jit/emit.
//
//   for pass: for j: for k: c[pass][j] += a[pass][k] * b[k][j]       for panel of j: for pass: for j in panel: for k: ...
//   for pass: for k: for j: c[pass][j] += a[pass][k] * b[k][j]       for panel of j: for pass: for k: for j in panel: ...
//
// A panel is as wide as a few vectors, so its results stay in registers while k runs. Each result still gets its terms in
// their order. That iterations of j are independent within a pass is checked at every entry (Reliance::panels).
#pragma once

#include <llvm/IR/Function.h>

#include <vector>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

struct PassPanels {
  int width = 0;  // iterations in a panel; 0: nothing was done
  int group = 1;  // passes that run side by side
  std::vector<const llvm::BasicBlock*> headers;  // of the loops that are cut
};

/// Whether loops, told by their headers, may be cut into panels, and are worth it.
using MayCut = llvm::function_ref<bool(const std::vector<const llvm::BasicBlock*>& headers)>;

/// `function` is a finished chunk function.
PassPanels CutIntoPanels(llvm::Function& function, Analyses& analyses, int vector_bits, MayCut may_cut);

}  // namespace tracelift::jit

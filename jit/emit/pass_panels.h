// Panels: of a nest whose passes all read the same large array, a piece of it that fits into the cache is used by all
// passes of a chunk before the next piece is read. Private to jit/emit.
//
//   for pass: for j: for k: c[pass][j] += a[pass][k] * b[k][j]       for panel of j: for pass: for j in panel: for k:
//   ... for pass: for k: for j: c[pass][j] += a[pass][k] * b[k][j]       for panel of j: for pass: for k: for j in
//   panel: ...
//
// When passes need what the ones before them did, but only in their own iterations of j, a chunk does all passes in order
// for a part of the panels instead (Artifact::parts):
//
//   for pass: for k < pass: for j: x[pass][j] -= l[pass][k] * x[k][j]
//
// A panel is as wide as a few vectors, so its results stay in registers while k runs. Each result still gets its terms
// in their order. That iterations of j are independent within a pass, or across all of them, is checked at every entry
// (Reliance).
#pragma once

#include <llvm/IR/Function.h>

#include <vector>

#include "jit/emit/host_target.h"
#include "jit/emit/seen_footprint.h"

namespace tracelift::jit {

struct PanelPlan {
  int width = 0;  // iterations in a panel; 0: no panels
  int64_t length = 0;
  bool ordered = false;  // all passes of a panel must be done in order
  bool grows = false;    // the loops are longer by one iteration from pass to pass (jit/emit/triangle_panels.h)
  std::vector<llvm::BasicBlock*> headers;  // of the loops that are cut
};

/// How the nest may be cut, if it may be and is worth it; before the function becomes a chunk function. Fixes the
/// length of the loops that are cut to what was seen: the chunk relies on it (jit/emit/entry_facts.h).
PanelPlan PlanPanels(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution,
                     const SeenFootprint& seen, int vector_bits);

struct Panels {
  int group = 0;   // passes that run side by side; 0: the function was left as it is
  int packed = 0;  // reads that go to a copy of what they read (jit/emit/packed_reads.h)
};

/// Cuts a finished chunk function.
Panels CutIntoPanels(llvm::Function& function, Analyses& analyses, const PanelPlan& plan);

}  // namespace tracelift::jit

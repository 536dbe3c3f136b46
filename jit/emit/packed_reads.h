// What every pass reads again along an inner loop, copied side by side before the first of them. Private to jit/emit.
//
// A panel of a matrix is a short piece of each of its rows, which lie pages apart: each pass pays for translating all these
// addresses, and pieces fall into few sets of the cache. A copy of the panel costs as much as one pass, and a chunk
// makes many. Lanes that lie apart (rows times rows) are gathered for the copy only.
#pragma once

#include <llvm/IR/Function.h>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

struct PackedReads {
  int redirected = 0;    // reads that go to a copy now
  int gathers_left = 0;  // in loops within a pass, of lanes that lie apart
};

/// `panel` has a chunk function's arguments, and is only called for one pass or more. Reads in loops that all passes run alike
/// go to a copy in ChunkResult::scratch, where that is large enough; they must not alias anything the function writes. The
/// function must be in loop-simplified form.
PackedReads PackReads(llvm::Function& panel, Analyses& analyses);

/// A panel's own loop does all of the panel at once, and is then no loop any more.
void OpenLoopsOfOneIteration(llvm::Function& panel, Analyses& analyses);

}  // namespace tracelift::jit

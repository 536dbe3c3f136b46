// Panels of triangular nests, whose inner loop is longer by one from pass to pass. Private to jit/emit.
//
//   for pass: for j <= pass: c[pass][j] = ...
//
// A panel is whole in all passes from some one on, which run in groups as in any nest; the few along the diagonal that have
// only a part of it do that one by one. Loops that get shorter are left out: they would have to be counted from a place that
// moves on with the passes.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Function.h>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

enum class Growth : bool { kByOne, kByOneAtMost };  // by so many iterations from pass to pass

/// Whether `loop` gets longer so from pass to pass of `region`.
bool Grows(llvm::Loop& loop, llvm::Loop& region, llvm::ScalarEvolution& evolution, Growth growth = Growth::kByOne);

/// A function like the chunk function `function` that returns, as i64, how many iterations the loop with this header,
/// which grows, makes in pass `first`, or a negative number where the facts relied on do not hold.
llvm::Function* MakeLengthFunction(llvm::Function& function, const llvm::BasicBlock* header, Analyses& analyses,
                                   Growth growth = Growth::kByOne);

struct TriangleCode {
  llvm::Function* panel;   // of whole panels, groups of passes
  llvm::Function* partly;  // of what each pass has of a panel
  llvm::Function* length;
  llvm::Function* single;
  int group;
  int64_t width;
};

/// Makes `function` run all passes of a chunk in one panel after the other.
void DispatchTriangle(llvm::Function& function, const TriangleCode& code);

}  // namespace tracelift::jit

// How many results of a kernel's grid a thread had better do at once, by what they read alike. Private to jit/emit.
//
// Along an axis on which the length of a loop depends, or on which data decide the way, there is one. Of the other shapes the one is
// taken with the fewest accesses for each result; where these are not much fewer than a single result makes, as for all that only
// streams through memory, it is a single one.
#pragma once

#include <llvm/IR/Function.h>
#include <llvm/IR/Instructions.h>

#include "jit/emit/host_target.h"
#include "jit/emit/jam_results.h"

namespace tracelift::jit {

struct TileShape {
  int rows = 1, columns = 1;
  constexpr int results() const { return rows * columns; }
};

struct TileFacts {
  GridDependence dependence;
  bool has_rows = false;                          // the grid has more than one dimension
  const llvm::BranchInst* agreement = nullptr;    // Jam::agreement
};

/// For a function whose loops are in simplified form.
TileShape ChooseShape(llvm::Function& function, const TileFacts& facts, Analyses& analyses);

}  // namespace tracelift::jit

// Several results of a kernel's grid at once, instruction by instruction: what they read alike is then read once for all of them.
// Private to jit/emit.
//
//   for k: sum += a[i][k] * b[k][j]       for k: a0 = a[i][k], a1 = a[i + 1][k]
//                                                b0 = b[k][j], b1 = b[k][j + 32]
//                                                s00 += a0 * b0, s01 += a0 * b1, s10 += a1 * b0, s11 += a1 * b1
//
// Results of a grid do not need each other's, so their instructions may be interleaved in any way; each keeps its own order, and
// with it its bits. All take the same way through the code: branches must not depend on the place in the grid. An instruction that
// depends on the row alone has a copy for each row, one that depends on neither is not copied: no later pass has to find out that
// two reads are one. Of an address that is as far from the first result's in all iterations, only that distance is added, which
// costs nothing in an access.
#pragma once

#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Function.h>
#include <llvm/IR/Instructions.h>

#include <map>

namespace tracelift::jit {

/// What values depend on, as a set of axes of the grid.
using Axes = uint8_t;
inline constexpr Axes kByRow = 1, kByColumn = 2;

class GridDependence {
 public:
  GridDependence(llvm::Function& function, const llvm::Argument* row, const llvm::Argument* column, llvm::ScalarEvolution& evolution);
  Axes Of(const llvm::Value* value) const;

 private:
  std::map<const llvm::Value*, Axes> axes_;
};

struct Jam {
  int rows = 1, columns = 1;    // results side by side
  int64_t column_distance = 1;  // from one column to the next
  llvm::Argument *row = nullptr, *column = nullptr;              // of the first result; row may be null
  llvm::Value *first_row = nullptr, *first_column = nullptr;     // results ahead of these are not stored; null: all are
  llvm::BranchInst* agreement = nullptr;                         // its condition must hold for all results; may be null
};

/// `function` returns flags, which are ored. It has no variables in memory; what it stores to depends on all axes.
void JamResults(llvm::Function& function, llvm::ScalarEvolution& evolution, const GridDependence& dependence, const Jam& jam);

}  // namespace tracelift::jit

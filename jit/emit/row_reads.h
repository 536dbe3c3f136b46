// Window reads that go along a row: `for (k = start[i]; k < start[i + 1]; k++) ... column[k]`. How long the row is, and
// where it begins, only data tell, but both are known ahead of the inner loop. So the first and the last of its reads
// are checked there, and none in it. Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>

#include <vector>

#include "jit/emit/window_reads.h"

namespace tracelift::jit {

/// Reads at first, first + step, ..., first + count * step in each run of a loop.
struct RowRead {
  WindowRead read;
  llvm::BasicBlock* before = nullptr;  // the loop's preheader, where `first` and `count`, of 64 bits, are known
  llvm::Value* first = nullptr;
  llvm::Value* count = nullptr;
  int64_t step = 0;
};

/// Takes the reads that go along rows of inner loops out of `reads`. Their code ahead of the loops is made, so call it
/// while `evolution` is up to date.
std::vector<RowRead> TakeRowReads(std::vector<WindowRead>* reads, const llvm::Loop* outer,
                                  llvm::ScalarEvolution& evolution);

/// Sets `strayed`, an i1, ahead of loops in which a read would leave its window. They must not be entered then.
void CheckRowReads(const std::vector<RowRead>& rows, llvm::AllocaInst* strayed);

}  // namespace tracelift::jit

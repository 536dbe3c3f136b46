// Reads at addresses that depend on loaded data: x[column[k]]. Where such a read lies is known when it is made, so it
// cannot be in the footprint; but a window is known at entry in which it may lie, memory around the part of its address
// that does not change (FootprintProgram::windows), which the slice does not write. The chunk checks each read and
// reads the window's begin instead of leaving it (kFlagStrayed). Private to jit/emit.
//
// From the first read that strays on, a chunk computes with data that the program never has. What it writes is undone
// and done again by the original; but it must come to an end, so inner loops whose length depends on data end when a
// read has strayed.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Instructions.h>

#include <map>
#include <vector>

namespace tracelift::jit {

inline constexpr char kStrayedMarker[] = "tl.strayed";

struct WindowRead {
  llvm::LoadInst* load = nullptr;
  int window = 0;  // in FootprintProgram::windows
};

/// The terms of the sum that an address is which are the same in all passes and iterations of `outer`; where it is one
/// of several addresses, if they are the same for all.
std::vector<const llvm::SCEV*> FixedTermsOf(llvm::Value* pointer, const llvm::Loop* outer,
                                            llvm::ScalarEvolution& evolution);

/// An inner loop that ends on the program's data, and maybe not on others.
struct DataBound {
  std::vector<llvm::BasicBlock*> before;   // how often it is passed is known from here on, or else
  std::vector<llvm::BasicBlock*> latches;  // each iteration is looked at
};
std::vector<DataBound> DataBoundsOf(const llvm::Loop* outer, llvm::ScalarEvolution& evolution);

/// Where a read of a window may lie: at most `last` bytes behind `begin`.
struct WindowBounds {
  llvm::Value* begin = nullptr;
  llvm::Value* last = nullptr;
};
/// Loads them at the function's entry, behind `strayed`, each window's once. `known` has, by window, its size for `last`.
WindowBounds BoundsOf(const WindowRead& read, llvm::AllocaInst* strayed, std::map<int, WindowBounds>* known,
                      llvm::IRBuilder<>& builder);

/// Nobody in this chunk writes what it reads.
void MarkUnwritten(llvm::LoadInst* load);

/// Makes the reads safe; sets `strayed`, an i1, where one would have left its window.
void GuardWindowReads(const std::vector<WindowRead>& reads, llvm::AllocaInst* strayed);

/// Where a read has strayed, the loops lead to kStrayedMarker.
void LeaveWhenStrayed(llvm::Function& function, const std::vector<DataBound>& bounds, llvm::AllocaInst* strayed);

}  // namespace tracelift::jit

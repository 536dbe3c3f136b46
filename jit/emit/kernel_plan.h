// How a region becomes a kernel: which of its inner loops are dimensions of the grid beside the passes, and which memories it
// touches. Private to jit/emit.
//
//   for pass: for j: for k: c[pass][j] += a[pass][k] * b[k][j]      thread (pass, j): for k: ...
//   for pass: for k: for j: c[pass][j] += a[pass][k] * b[k][j]      thread (pass, j): for k: ...
//
// A thread does one pass, and one iteration of each of the loops that are a dimension together (jit/emit/cut_loops.h). That these do
// not need each other's is checked at every entry (Reliance::grid).
#pragma once

#include <llvm/IR/Function.h>

#include <expected>
#include <string>
#include <vector>

#include "jit/emit/footprint_from_scev.h"
#include "jit/emit/seen_footprint.h"
#include "jit/kernel.h"

namespace tracelift::jit {

struct KernelPlan {
  Kernel kernel;                                      // all but its code
  std::vector<std::vector<llvm::BasicBlock*>> headers;  // by dimension behind the passes, of the loops that are cut
};

/// For a region before it becomes a chunk function; or why it cannot be a kernel. Marks each access with its memory
/// (MemoryOf), and relies on what the grid needs.
std::expected<KernelPlan, std::string> PlanKernel(const LoopShape& shape, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution,
                                                  const LoopFootprint& footprint, SeenFootprint& seen);

/// What an access of the program was marked with.
struct MemoryMark {
  int memory = -1;         // -1: it is none of the program's
  uint64_t alignment = 0;  // of its address; 0: not known
};
MemoryMark MemoryOf(const llvm::Instruction& access);

}  // namespace tracelift::jit

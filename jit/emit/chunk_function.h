// Turns the analysed loop into the ChunkFunction of an artifact. Private to jit/emit.
#pragma once

#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Function.h>

#include "jit/emit/loop_shape.h"
#include "jit/emit/table_reads.h"
#include "jit/emit/window_reads.h"

namespace tracelift::jit {

struct ChunkTraits {
  uint32_t may_flag = 0;              // kFlag* that it can set
  bool can_seek = false;              // see Artifact
  std::vector<Reduction> reductions;  // likewise
  bool reads_rows = false;            // memory known to be there up to the end of each row only (jit/emit/row_reads.h)
};

/// Rewrites `function` (i32 f(in, out, first, count, result), shape known) in place, so that it runs exactly `count`
/// passes starting `first` passes after `in`:
///   natural exits go away (the caller never asks for more passes than there are),
///   affine header phis start at their value after `first` passes,
///   reductions start at their neutral values, and are combined with the partial results at the end,
///   the pass counter is a fresh one,
///   values that become visible are checked for NaN (kFlagNaN),
///   kept values that no pass of the chunk set are reported with the state (kFlagStale),
///   the facts relied on are checked first (kFlagUnlike).
/// Of the loop `begun_later` passes may do only the iterations from some one on: values kept in those before are not known.
/// The result returns i32 but is called as a ChunkFunction (the value is ignored).
ChunkTraits MakeChunkFunction(llvm::Function& function, const LoopShape& shape, llvm::ScalarEvolution& evolution,
                              const std::vector<TableRead>& table_reads, std::vector<WindowRead> window_reads,
                              const llvm::Loop* begun_later = nullptr);

}  // namespace tracelift::jit

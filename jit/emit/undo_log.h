// Chunks that keep what they overwrite. Where a NaN shows, a chunk is done again by the original, and where it also
// reads what it writes, the old bytes must come back first. Reading them ahead of the chunk waits for memory twice; the
// loop itself has them at hand. Private to jit/emit.
#pragma once

#include <llvm/IR/Function.h>

#include <cstdint>
#include <vector>

#include "jit/emit/footprint_from_scev.h"
#include "jit/emit/host_target.h"
#include "jit/emit/seen_footprint.h"

namespace tracelift::jit {

struct UndoLog {
  std::vector<uint16_t> logged;    // Artifact::logged; empty: nothing was changed
  llvm::Function* undo = nullptr;  // puts back what the log has
};

/// Makes chunk function `chunk` copy to ChunkResult::log what its writes are about to overwrite, when putting that back
/// is simple: the way through a pass depends on no data, and no byte is written twice in it. With `only_by_pass`, only
/// when all such writes lie in the region's own loop.
UndoLog LogWrites(llvm::Function& chunk, Analyses& analyses, const SeenFootprint& seen,
                  const std::vector<AccessBy>& accesses_by, bool only_by_pass);

/// Makes `chunk` call log.undo instead of all else where ChunkResult::undoes asks for that.
void UndoWhenAsked(llvm::Function& chunk, const UndoLog& log);

}  // namespace tracelift::jit

// What keeps LLVM from making vectors of innermost loops that branch, taken out of the way. Private to jit/emit.
//
// Switches, which it makes of neighbouring comparisons, become branches again. Reads that only some iterations make are
// made by all: each address that a pass could compute is mapped (its footprint was checked). And where an iteration
// reads a place anyway and only sometimes writes it, it always writes it, what was read if nothing else: vectors
// written under masks are several times slower than whole ones where masks are not part of the instruction set
// (AVX2; bytes and words have none at all).
//
// That is another thread's write lost only where this thread's read is a race with it in the original, too.
#pragma once

#include <llvm/IR/Function.h>
#include <llvm/IR/PassManager.h>

namespace tracelift::jit {

/// Functions that compute addresses which no pass would (jit/emit/lane_code.h, Reads::kOfLanesThere) have this
/// attribute.
inline constexpr char kReadsOnlyWhenThere[] = "tl-reads-only-when-there";

class StraightenLoops : public llvm::PassInfoMixin<StraightenLoops> {
 public:
  /// `masked_stores`: the machine's instructions write under masks.
  explicit StraightenLoops(bool masked_stores) : masked_stores_(masked_stores) {}
  llvm::PreservedAnalyses run(llvm::Function& function, llvm::FunctionAnalysisManager& analyses);

 private:
  bool masked_stores_;
};

}  // namespace tracelift::jit

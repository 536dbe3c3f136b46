// Inner loops of a nest that are cut at the same iterations, so that parts of all of them belong together: a panel, a thread of a
// grid. Together they contain all that a pass stores. Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>

#include <set>
#include <vector>

#include "jit/emit/seen_footprint.h"

namespace tracelift::jit {

bool StoresToMemory(const llvm::Instruction& instruction);

enum class Lengths : uint8_t {
  kSteady,  // the same in all passes, or growing by one from pass to pass
  kAny,     // known before the loop begins
};

class CutLoops {
 public:
  /// Of a function before it becomes a chunk function.
  CutLoops(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution, const SeenFootprint& seen, Lengths lengths);

  /// How often a loop runs in a pass, at most, as seen; 0 when its length is no such one.
  int64_t LengthOf(llvm::Loop& loop) const;
  bool Grows(llvm::Loop& loop) const;

  /// The loops that are cut together with `loop`: all of its length that store something. Empty when some store lies
  /// elsewhere.
  std::vector<llvm::Loop*> LoopsWith(llvm::Loop& loop) const;

  /// Values to the rest of a pass.
  bool HandsOnValues(const llvm::Loop& loop) const;

  /// What the passes write depends on `value`; all else only matters to the state at the end.
  bool IsNeeded(const llvm::Instruction& value) const { return needed_.contains(&value); }

 private:
  bool AreOfOneLength(llvm::Loop& a, llvm::Loop& b) const;

  llvm::Loop& region_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  const SeenFootprint& seen_;
  const Lengths lengths_;
  std::set<const llvm::Instruction*> needed_;
};

}  // namespace tracelift::jit

// What the lanes of a vector have in common when each runs one iteration of a loop: which values are the same in all of
// them, which follow each other at a constant distance, and which loops and branches they take together. Private to
// jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Instructions.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace tracelift::jit {

enum class LaneKind : uint8_t {
  kUniform,  // the same in all lanes
  kAffine,   // an integer or pointer: lane l has lane 0's value plus l times the stride
  kVarying,
};

struct LaneValue {
  LaneKind kind = LaneKind::kUniform;
  int64_t stride = 0;
  bool operator==(const LaneValue&) const = default;
};

/// The blocks behind `loop` that still belong to the lanes' loop.
std::vector<llvm::BasicBlock*> ExitsInside(const llvm::Loop& loop, const llvm::Loop& lanes);

/// The values and the control flow of one loop, the lanes' loop, as seen by neighbouring iterations of it. The function
/// must be in loop-simplified and LCSSA form.
class LaneValues {
 public:
  /// nullopt when the lanes' control flow has a shape that is not handled.
  static std::optional<LaneValues> Of(llvm::Loop& lanes, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution);

  LaneValue Of(const llvm::Value* value) const;
  /// True when lanes may take different ways through the loop's own blocks: the blocks then run one after another,
  /// under masks. Inner loops of that kind are divergent as well.
  bool IsLinear(const llvm::Loop* loop) const { return linear_.contains(loop); }
  /// True when lanes may leave the (inner) loop at different times.
  bool IsDivergent(const llvm::Loop* loop) const { return divergent_.contains(loop); }
  /// Header variables of the lanes' loop that count nothing: they matter at its end only.
  bool IsKept(const llvm::PHINode* phi) const { return kept_.contains(phi); }

 private:
  LaneValues(llvm::Loop& lanes, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution)
      : lanes_(lanes), loops_(loops), evolution_(evolution) {}
  bool FindHeaderValues();
  LaneValue KindOf(llvm::Instruction& instruction) const;
  LaneValue KindOfPhi(llvm::PHINode& phi) const;
  std::optional<LaneValue> KindByEvolution(llvm::Instruction& instruction) const;
  std::optional<int64_t> StrideOf(const llvm::SCEV* scev) const;
  bool FollowBranches(bool* changed);
  bool LeadToParent(const std::vector<llvm::BasicBlock*>& exits, const llvm::Loop& loop) const;
  bool MarkDivergent(llvm::Loop* loop, bool* changed);

  llvm::Loop& lanes_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  std::map<const llvm::Value*, LaneValue> values_;  // without an entry: uniform
  std::set<const llvm::Loop*> linear_, divergent_;
  std::set<const llvm::PHINode*> kept_;
};

}  // namespace tracelift::jit

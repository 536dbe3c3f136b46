// The control flow of lanes. Where all lanes go the same way, the blocks are those of the original. Where they do not,
// all ways are gone one after another under masks; a loop goes on while any lane is in it. Private to jit/emit.
#pragma once

#include <map>
#include <vector>

#include "jit/emit/lane_code.h"

namespace tracelift::jit {

class LaneControl {
 public:
  LaneControl(llvm::Loop& lanes, llvm::LoopInfo& loops, const LaneValues& values, LaneCode& code,
              llvm::IRBuilder<>& builder)
      : lanes_(lanes), loops_(loops), values_(values), code_(code), builder_(builder) {}

  /// Emits one iteration of the lanes' loop, from the builder's place, its header variables being set already.
  /// Afterwards the builder is where the iteration ends.
  void EmitIteration();

 private:
  using Edge = std::pair<const llvm::BasicBlock*, const llvm::BasicBlock*>;
  struct Collected {     // what lanes that have left a loop took with them
    llvm::PHINode* phi;  // at the header
    llvm::Value* latest;
  };
  struct Divergence {  // a loop that lanes leave at different times, while its body is emitted
    std::map<const llvm::PHINode*, Collected> values;         // by the phis behind its exits
    std::map<const llvm::BasicBlock*, Collected> lanes_left;  // by exit; only when there are several
  };

  std::vector<llvm::BasicBlock*> OwnOrder(llvm::Loop* loop) const;
  llvm::BasicBlock* NewBlock(const llvm::Twine& name);
  void EmitAlike(llvm::Loop* loop, llvm::Value* mask, llvm::BasicBlock* from);
  void EmitLinear(llvm::Loop* loop, llvm::Value* mask);
  void EmitDivergent(llvm::Loop* loop, llvm::Value* mask);
  void EmitLoopUnderMask(llvm::Loop* loop);
  void EmitBlock(llvm::BasicBlock* block, llvm::Value* mask);
  void EmitBlockIfAny(llvm::BasicBlock* block, llvm::Value* mask);
  void EndBlockAlike(llvm::BasicBlock* block, llvm::Value* mask);
  void EndBlockLinear(llvm::BasicBlock* block, llvm::Value* mask);
  void CollectLeaving(const llvm::BasicBlock* from, llvm::BasicBlock* to, llvm::Value* lanes);
  void LeaveTo(llvm::BasicBlock* outside, llvm::Value* lanes);
  void BlendPhis(llvm::BasicBlock* block);
  void AddPhis(llvm::BasicBlock* block);
  void AddIncoming(llvm::BasicBlock* block, const llvm::BasicBlock* original_from, llvm::BasicBlock* from);
  llvm::Value* FormOf(llvm::Value* value, bool wide) { return wide ? code_.Wide(value) : code_.Scalar(value); }
  void SetForm(const llvm::PHINode* phi, llvm::Value* value) {
    code_.IsWide(phi) ? code_.SetWide(phi, value) : code_.SetScalar(phi, value);
  }
  llvm::Value* And(llvm::Value* mask, llvm::Value* condition);
  llvm::Value* Or(llvm::Value* a, llvm::Value* b);
  llvm::Value* AllLanes();
  llvm::Value* SkippedAs(llvm::Value* value, llvm::Value* skipped, llvm::BasicBlock* ran, llvm::BasicBlock* not_ran);

  llvm::Loop& lanes_;
  llvm::LoopInfo& loops_;
  const LaneValues& values_;
  LaneCode& code_;
  llvm::IRBuilder<>& builder_;
  std::map<const llvm::BasicBlock*, llvm::BasicBlock*> starts_, ends_;  // of blocks that have copies of their own
  std::map<Edge, llvm::Value*>
      edges_;  // lanes that take an edge between linear blocks; null: all that run the loop's pass
  std::set<const llvm::BasicBlock*> joined_;  // their phis have been set by the loop ahead of them
  std::map<const llvm::Loop*, Divergence> open_;
};

}  // namespace tracelift::jit

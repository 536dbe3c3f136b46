// Copies of a chunk function whose passes do only a part of some inner loops' iterations, and leave no state. Private to
// jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/IR/Function.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/Transforms/Utils/ValueMapper.h>

#include <vector>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

/// The loop ends after `count` iterations (i64) and goes on at `exit`, whatever its latch did before.
void CountUpTo(llvm::Loop& loop, llvm::Value* count, llvm::BasicBlock* exit, llvm::IRBuilder<>& builder);

/// The loop starts with iteration `from` (i64): its header variables that are recurrences are as far.
void StartAt(llvm::Loop& loop, llvm::Value* from, llvm::ScalarEvolution& evolution);

/// They have work enough in one iteration; more of them side by side only take longer to compile.
void KeepLoopsWhole(llvm::Function& panel, Analyses& analyses);

class PanelFunction {
 public:
  /// `headers` are those of the loops in `function`, a chunk function or another part of one. The copy has one more argument, the
  /// first iteration of the part.
  PanelFunction(llvm::Function& function, const std::vector<llvm::BasicBlock*>& headers, const char* suffix,
                Analyses& analyses);

  /// Looked at again, as the chunk function's flags came in between.
  bool CanWiden(bool grows);

  /// Each loop does `width` iterations at once, from the part's first on.
  void Widen(unsigned width);

  /// Each loop does one by one what it has of the part's `width` iterations, if anything. CanRestrict.
  void RestrictToPart(int64_t width);
  bool CanRestrict();

  /// Each loop does `count` iterations one by one, from the part's first on.
  void Restrict(int64_t count);

  llvm::Function& function() { return *clone_; }
  llvm::Argument* From() const { return clone_->getArg(static_cast<unsigned>(clone_->arg_size()) - 1); }
  const std::vector<llvm::BasicBlock*>& headers() const { return headers_; }
  /// The copy of a block of the original; null when nothing needs it.
  llvm::BasicBlock* CopyOf(llvm::BasicBlock* block) const { return llvm::dyn_cast_or_null<llvm::BasicBlock>(map_.lookup(block)); }

 private:
  struct Analysed {
    llvm::Loop* loop;
    llvm::LoopInfo& loops;
    llvm::ScalarEvolution& evolution;
  };
  void LeaveNoState();
  Analysed Analyse(llvm::BasicBlock* header);

  Analyses& analyses_;
  llvm::ValueToValueMapTy map_;  // from the original
  llvm::Function* clone_ = nullptr;
  std::vector<llvm::BasicBlock*> headers_;
};

}  // namespace tracelift::jit

// Two cases of values after loops. Where ScalarEvolution knows how often the inner loop is passed, it knows the values after it. The other is
// compilers' favourite: the loop ends when one stepping value equals a bound, and nothing says that the steps hit the
// bound. But *if* the loop is left there, then start + step * n == bound (mod 2^64) for the pass n it is left in, so any
// value with k times that step is its own start + k * (bound - start), whatever n is.

#include "jit/emit/exit_values.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <optional>
#include <vector>

namespace tracelift::jit {
namespace {

// The loop is left through `edge` when `stepping` == `bound`.
struct EqualityExit {
  llvm::BasicBlockEdge edge;
  const llvm::SCEVAddRecExpr* stepping;
  const llvm::SCEV* bound;
};

const llvm::SCEVAddRecExpr* AffineIn(const llvm::SCEV* scev, const llvm::Loop* loop) {
  const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(scev);
  return recurrence && recurrence->getLoop() == loop && recurrence->isAffine() ? recurrence : nullptr;
}

std::optional<EqualityExit> EqualityExitOf(const llvm::Loop* loop, llvm::BasicBlock* exiting,
                                           llvm::ScalarEvolution& evolution) {
  const auto* branch = llvm::dyn_cast<llvm::BranchInst>(exiting->getTerminator());
  const auto* compare = branch && branch->isConditional() ? llvm::dyn_cast<llvm::ICmpInst>(branch->getCondition()) : nullptr;
  if (!compare || !compare->isEquality() || !compare->getOperand(0)->getType()->isIntegerTy()) return std::nullopt;
  llvm::BasicBlock* when_equal = branch->getSuccessor(compare->getPredicate() == llvm::ICmpInst::ICMP_EQ ? 0 : 1);
  if (loop->contains(when_equal) || branch->getSuccessor(0) == branch->getSuccessor(1)) return std::nullopt;
  const llvm::SCEV* left = evolution.getSCEV(compare->getOperand(0));
  const llvm::SCEV* right = evolution.getSCEV(compare->getOperand(1));
  if (evolution.isLoopInvariant(left, loop)) std::swap(left, right);
  const auto* stepping = AffineIn(left, loop);
  if (!stepping || !evolution.isLoopInvariant(right, loop)) return std::nullopt;
  return EqualityExit{{exiting, when_equal}, stepping, right};
}

// The value of `recurrence` in the pass in which the loop is left; null when that depends on which pass it is.
const llvm::SCEV* ValueAt(const EqualityExit& exit, const llvm::SCEVAddRecExpr* recurrence,
                          llvm::ScalarEvolution& evolution) {
  const auto* step = llvm::dyn_cast<llvm::SCEVConstant>(recurrence->getStepRecurrence(evolution));
  const auto* unit = llvm::dyn_cast<llvm::SCEVConstant>(exit.stepping->getStepRecurrence(evolution));
  if (!step || !unit || unit->isZero()) return nullptr;
  const unsigned width = step->getAPInt().getBitWidth();
  if (width > unit->getAPInt().getBitWidth()) return nullptr;
  const llvm::APInt wide = step->getAPInt().sext(unit->getAPInt().getBitWidth());
  if (!wide.srem(unit->getAPInt()).isZero()) return nullptr;
  const llvm::APInt times = wide.sdiv(unit->getAPInt()).trunc(width);
  const llvm::SCEV* covered = evolution.getMinusSCEV(exit.bound, exit.stepping->getStart());
  covered = evolution.getTruncateOrNoop(covered, recurrence->getType());
  return evolution.getAddExpr(recurrence->getStart(), evolution.getMulExpr(evolution.getConstant(times), covered));
}

class Rewriter {
 public:
  Rewriter(llvm::Function& function, llvm::ScalarEvolution& evolution, const llvm::DominatorTree& dominators)
      : evolution_(evolution), dominators_(dominators),
        expander_(evolution, function.getParent()->getDataLayout(), "left") {}

  void Rewrite(llvm::Loop* loop) {
    if (!loop->getLoopPreheader()) return;
    llvm::SmallVector<llvm::BasicBlock*, 4> exiting;
    loop->getExitingBlocks(exiting);
    std::vector<EqualityExit> exits;
    for (llvm::BasicBlock* block : exiting) {
      if (auto exit = EqualityExitOf(loop, block, evolution_)) exits.push_back(*exit);
    }
    for (llvm::BasicBlock* block : loop->blocks()) {
      for (llvm::Instruction& instruction : *block) {
        if (instruction.getType()->isIntegerTy() && evolution_.isSCEVable(instruction.getType())) {
          RewriteUsesOutside(&instruction, loop, exits);
        }
      }
    }
  }

  // A register that every arm sets to the same expression, each for itself.
  void MergeArms(llvm::BasicBlock* block) {
    for (llvm::PHINode& phi : llvm::make_early_inc_range(block->phis())) {
      if (!phi.getType()->isIntegerTy() || phi.getNumIncomingValues() < 2) continue;
      if (phi.hasConstantValue()) continue;  // no arms, but one value behind a loop with several exits (LCSSA form)
      const llvm::SCEV* all = evolution_.getSCEV(phi.getIncomingValue(0));
      const auto differs = [&](const llvm::Use& value) { return evolution_.getSCEV(value) != all; };
      if (llvm::any_of(phi.incoming_values(), differs)) continue;
      llvm::Instruction* at = &*block->getFirstInsertionPt();
      if (!evolution_.dominates(all, block) || !expander_.isSafeToExpandAt(all, at)) continue;
      llvm::Value* merged = expander_.expandCodeFor(all, phi.getType(), at);
      if (merged == &phi) continue;  // also a phi that the expander made, to keep LCSSA form
      phi.replaceAllUsesWith(merged);
      evolution_.forgetValue(&phi);
      changed_ = true;
    }
  }

  bool changed() const { return changed_; }

 private:
  void RewriteUsesOutside(llvm::Instruction* value, const llvm::Loop* loop, const std::vector<EqualityExit>& exits) {
    std::vector<llvm::Use*> outside;
    for (llvm::Use& use : value->uses()) {
      if (!loop->contains(llvm::cast<llvm::Instruction>(use.getUser())->getParent())) outside.push_back(&use);
    }
    if (outside.empty()) return;
    const llvm::SCEVAddRecExpr* recurrence = AffineIn(evolution_.getSCEV(value), loop);
    if (!recurrence) return;
    const llvm::SCEV* known = evolution_.getSCEVAtScope(recurrence, loop->getParentLoop());
    for (llvm::Use* use : outside) {
      if (evolution_.isLoopInvariant(known, loop)) {
        Replace(use, known, loop);
        continue;
      }
      for (const EqualityExit& exit : exits) {
        if (!dominators_.dominates(exit.edge, *use)) continue;
        if (const llvm::SCEV* left = ValueAt(exit, recurrence, evolution_)) Replace(use, left, loop);
        break;
      }
    }
  }

  void Replace(llvm::Use* use, const llvm::SCEV* by, const llvm::Loop* loop) {
    llvm::Instruction* before = loop->getLoopPreheader()->getTerminator();
    if (!expander_.isSafeToExpandAt(by, before)) return;
    use->set(expander_.expandCodeFor(by, use->get()->getType(), before));
    changed_ = true;
  }

  llvm::ScalarEvolution& evolution_;
  const llvm::DominatorTree& dominators_;
  llvm::SCEVExpander expander_;
  bool changed_ = false;
};

}  // namespace

bool RewriteExitValues(llvm::Function& function, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution,
                       const llvm::DominatorTree& dominators) {
  Rewriter rewriter(function, evolution, dominators);
  const auto outer_first = loops.getLoopsInPreorder();
  for (llvm::Loop* loop : llvm::reverse(outer_first)) {
    if (!loop->getParentLoop()) continue;  // the region's own: its ends are not part of it
    rewriter.Rewrite(loop);
  }
  for (llvm::BasicBlock& block : function) {
    if (!loops.isLoopHeader(&block)) rewriter.MergeArms(&block);
  }
  return rewriter.changed();
}

}  // namespace tracelift::jit

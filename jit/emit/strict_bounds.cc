#include "jit/emit/strict_bounds.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Instructions.h>

#include <optional>
#include <utility>

#include "jit/emit/entry_facts.h"

namespace tracelift::jit {
namespace {

using Predicate = llvm::CmpInst::Predicate;

// The loop goes on while counter <= bound.
struct InclusiveBound {
  llvm::Value* counter;
  llvm::Value* bound;
  bool is_signed;
};

std::optional<InclusiveBound> InclusiveBoundOf(const llvm::Loop* loop, llvm::BasicBlock* exiting,
                                               llvm::ScalarEvolution& evolution) {
  const auto* branch = llvm::dyn_cast<llvm::BranchInst>(exiting->getTerminator());
  const auto* compare = branch && branch->isConditional() ? llvm::dyn_cast<llvm::ICmpInst>(branch->getCondition()) : nullptr;
  if (!compare || !compare->getOperand(0)->getType()->isIntegerTy()) return std::nullopt;
  Predicate goes_on = loop->contains(branch->getSuccessor(0)) ? compare->getPredicate() : compare->getInversePredicate();
  llvm::Value* counter = compare->getOperand(0);
  llvm::Value* bound = compare->getOperand(1);
  if (evolution.isLoopInvariant(evolution.getSCEV(counter), loop)) {
    std::swap(counter, bound);
    goes_on = llvm::CmpInst::getSwappedPredicate(goes_on);
  }
  if (goes_on != Predicate::ICMP_SLE && goes_on != Predicate::ICMP_ULE) return std::nullopt;
  const auto* stepping = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(counter));
  if (!stepping || stepping->getLoop() != loop || !stepping->getStepRecurrence(evolution)->isOne()) return std::nullopt;
  if (!evolution.isLoopInvariant(evolution.getSCEV(bound), loop)) return std::nullopt;
  return InclusiveBound{counter, bound, goes_on == Predicate::ICMP_SLE};
}

bool MakeStrict(llvm::Loop* loop, llvm::BasicBlock* exiting, llvm::Loop* outermost, llvm::ScalarEvolution& evolution) {
  const std::optional<InclusiveBound> found = InclusiveBoundOf(loop, exiting, evolution);
  if (!found || !loop->getLoopPreheader() || !outermost->getLoopPreheader()) return false;
  llvm::Value* bound = found->bound;
  const unsigned bits = bound->getType()->getIntegerBitWidth();
  const llvm::APInt largest = found->is_signed ? llvm::APInt::getSignedMaxValue(bits) : llvm::APInt::getMaxValue(bits);
  const Predicate below = found->is_signed ? Predicate::ICMP_SLT : Predicate::ICMP_ULT;
  bool moved = false;
  if (!evolution.isLoopEntryGuardedByCond(loop, below, evolution.getSCEV(bound), evolution.getConstant(largest))) {
    llvm::Instruction* ahead = outermost->getLoopPreheader()->getTerminator();
    if (!outermost->makeLoopInvariant(bound, moved, ahead)) return false;
    llvm::IRBuilder<> builder(ahead);
    RelyOn(builder.CreateICmp(below, bound, llvm::ConstantInt::get(bound->getType(), largest)), ahead);
  }
  if (!loop->makeLoopInvariant(bound, moved)) return false;
  llvm::IRBuilder<> builder(loop->getLoopPreheader()->getTerminator());
  // Without nsw: instcombine would turn the comparison back.
  llvm::Value* end = builder.CreateAdd(bound, llvm::ConstantInt::get(bound->getType(), 1));
  auto* branch = llvm::cast<llvm::BranchInst>(exiting->getTerminator());
  builder.SetInsertPoint(branch);
  const bool goes_on_when_true = loop->contains(branch->getSuccessor(0));
  branch->setCondition(
      builder.CreateICmp(goes_on_when_true ? below : llvm::CmpInst::getInversePredicate(below), found->counter, end));
  return true;
}

}  // namespace

bool MakeBoundsStrict(llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution) {
  bool changed = false;
  for (llvm::Loop* loop : loops.getLoopsInPreorder()) {
    llvm::SmallVector<llvm::BasicBlock*, 4> exiting;
    loop->getExitingBlocks(exiting);
    for (llvm::BasicBlock* block : exiting) {
      if (!llvm::isa<llvm::SCEVCouldNotCompute>(evolution.getExitCount(loop, block))) continue;
      changed |= MakeStrict(loop, block, loop->getOutermostLoop(), evolution);
    }
  }
  if (changed) evolution.forgetAllLoops();
  return changed;
}

}  // namespace tracelift::jit

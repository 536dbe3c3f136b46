#include "jit/emit/stepped_bounds.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <optional>
#include <utility>

#include "jit/emit/entry_facts.h"

namespace tracelift::jit {
namespace {

using Predicate = llvm::CmpInst::Predicate;

// The loop goes on while what it counts, first..., first + step, ..., is below the bound, or the bound itself.
struct SteppedExit {
  llvm::BranchInst* branch;
  const llvm::SCEV *first, *step, *bound;
  bool is_signed, inclusive;
};

std::optional<SteppedExit> SteppedExitOf(llvm::Loop* loop, llvm::BasicBlock* exiting,
                                         llvm::ScalarEvolution& evolution) {
  auto* branch = llvm::dyn_cast<llvm::BranchInst>(exiting->getTerminator());
  const auto* compare =
      branch && branch->isConditional() ? llvm::dyn_cast<llvm::ICmpInst>(branch->getCondition()) : nullptr;
  if (!compare || !compare->getOperand(0)->getType()->isIntegerTy()) return std::nullopt;
  Predicate goes_on =
      loop->contains(branch->getSuccessor(0)) ? compare->getPredicate() : compare->getInversePredicate();
  const llvm::SCEV *counter = evolution.getSCEV(compare->getOperand(0)),
                   *bound = evolution.getSCEV(compare->getOperand(1));
  if (evolution.isLoopInvariant(counter, loop)) {
    std::swap(counter, bound);
    goes_on = llvm::CmpInst::getSwappedPredicate(goes_on);
  }
  const bool inclusive = goes_on == Predicate::ICMP_SLE || goes_on == Predicate::ICMP_ULE;
  if (!inclusive && goes_on != Predicate::ICMP_SLT && goes_on != Predicate::ICMP_ULT) return std::nullopt;
  const auto* stepping = llvm::dyn_cast<llvm::SCEVAddRecExpr>(counter);
  if (!stepping || stepping->getLoop() != loop || !stepping->isAffine()) return std::nullopt;
  const llvm::SCEV* step = stepping->getStepRecurrence(evolution);
  const llvm::Loop* region = loop->getOutermostLoop();
  if (llvm::isa<llvm::SCEVConstant>(step) || !evolution.isLoopInvariant(step, region)) return std::nullopt;
  if (!evolution.isLoopInvariant(bound, region)) return std::nullopt;
  return SteppedExit{branch, stepping->getStart(), step, bound, llvm::CmpInst::isSigned(goes_on), inclusive};
}

// The step is positive, and one step from the bound leads to a larger number.
void RelyOnSteps(const SteppedExit& exit, llvm::Value* step, llvm::Value* bound, llvm::Instruction* where) {
  llvm::IRBuilder<> builder(where);
  const unsigned bits = step->getType()->getIntegerBitWidth();
  const llvm::APInt largest = exit.is_signed ? llvm::APInt::getSignedMaxValue(bits) : llvm::APInt::getMaxValue(bits);
  RelyOn(builder.CreateICmpSGT(step, llvm::ConstantInt::get(step->getType(), 0)), where);
  llvm::Value* last = builder.CreateSub(llvm::ConstantInt::get(step->getType(), largest), step);
  RelyOn(builder.CreateICmp(exit.is_signed ? Predicate::ICMP_SLE : Predicate::ICMP_ULE, bound, last), where);
}

// How often the loop goes on: the steps from `first` up to `end`. A step of 0, where the chunk does nothing, counts as
// 1: the count may be computed before that is seen.
const llvm::SCEV* StepsUpTo(const SteppedExit& exit, llvm::ScalarEvolution& evolution) {
  const llvm::SCEV* one = evolution.getOne(exit.step->getType());
  const llvm::SCEV* end = exit.inclusive ? evolution.getAddExpr(exit.bound, one) : exit.bound;
  const llvm::SCEV* reach =
      exit.is_signed ? evolution.getSMaxExpr(end, exit.first) : evolution.getUMaxExpr(end, exit.first);
  const llvm::SCEV* distance = evolution.getMinusSCEV(reach, exit.first);
  const llvm::SCEV* any = evolution.getUMinExpr(distance, one);
  const llvm::SCEV* whole =
      evolution.getUDivExpr(evolution.getMinusSCEV(distance, any), evolution.getUMaxExpr(exit.step, one));
  return evolution.getAddExpr(any, whole);
}

bool CountStepsOf(llvm::Loop* loop, llvm::BasicBlock* exiting, llvm::ScalarEvolution& evolution) {
  const std::optional<SteppedExit> exit = SteppedExitOf(loop, exiting, evolution);
  llvm::BasicBlock *preheader = loop->getLoopPreheader(), *latch = loop->getLoopLatch();
  llvm::BasicBlock* ahead = loop->getOutermostLoop()->getLoopPreheader();
  if (!exit || !preheader || !latch || !ahead) return false;
  llvm::Function& function = *preheader->getParent();
  if (!llvm::DominatorTree(function).dominates(exiting, latch)) return false;
  const llvm::SCEV* taken = StepsUpTo(*exit, evolution);
  llvm::SCEVExpander expander(evolution, function.getParent()->getDataLayout(), "steps");
  for (const llvm::SCEV* part : {exit->step, exit->bound}) {
    if (!expander.isSafeToExpandAt(part, ahead->getTerminator())) return false;
  }
  if (!expander.isSafeToExpandAt(taken, preheader->getTerminator())) return false;

  llvm::Type* type = exit->step->getType();
  llvm::Value* step = expander.expandCodeFor(exit->step, type, ahead->getTerminator());
  llvm::Value* bound = expander.expandCodeFor(exit->bound, type, ahead->getTerminator());
  RelyOnSteps(*exit, step, bound, ahead->getTerminator());
  llvm::IRBuilder<> builder(preheader->getTerminator());
  llvm::Value* times =
      builder.CreateZExt(expander.expandCodeFor(taken, type, preheader->getTerminator()), builder.getInt64Ty());
  builder.SetInsertPoint(loop->getHeader(), loop->getHeader()->begin());
  llvm::PHINode* steps = builder.CreatePHI(builder.getInt64Ty(), 2, "steps");
  builder.SetInsertPoint(exit->branch);
  const bool goes_on_when_true = loop->contains(exit->branch->getSuccessor(0));
  exit->branch->setCondition(
      builder.CreateICmp(goes_on_when_true ? Predicate::ICMP_ULT : Predicate::ICMP_UGE, steps, times));
  builder.SetInsertPoint(latch->getTerminator());
  steps->addIncoming(builder.getInt64(0), preheader);
  steps->addIncoming(builder.CreateAdd(steps, builder.getInt64(1), "", /*HasNUW=*/true, /*HasNSW=*/true), latch);
  return true;
}

}  // namespace

bool CountSteps(llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution) {
  bool changed = false;
  for (llvm::Loop* loop : loops.getLoopsInPreorder()) {
    llvm::SmallVector<llvm::BasicBlock*, 4> exiting;
    loop->getExitingBlocks(exiting);
    for (llvm::BasicBlock* block : exiting) {
      if (!llvm::isa<llvm::SCEVCouldNotCompute>(evolution.getExitCount(loop, block))) continue;
      changed |= CountStepsOf(loop, block, evolution);
    }
  }
  if (changed) evolution.forgetAllLoops();
  return changed;
}

}  // namespace tracelift::jit

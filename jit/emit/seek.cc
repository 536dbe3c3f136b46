#include "jit/emit/seek.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };

// A value at the end of pass `first` - 1, counted from 0, as an expression that is known ahead of the loop.
class AtEndOfPass : public llvm::SCEVRewriteVisitor<AtEndOfPass> {
 public:
  AtEndOfPass(const llvm::Loop* loop, const llvm::SCEV* pass, llvm::ScalarEvolution& evolution,
              const llvm::DominatorTree& dominators)
      : SCEVRewriteVisitor(evolution), loop_(loop), pass_(pass), dominators_(dominators) {}

  const llvm::SCEV* visitAddRecExpr(const llvm::SCEVAddRecExpr* recurrence) {
    if (recurrence->getLoop() == loop_) {
      const llvm::SCEV* pass = SE.getTruncateOrZeroExtend(pass_, SE.getEffectiveSCEVType(recurrence->getType()));
      return visit(recurrence->evaluateAtIteration(pass, SE));
    }
    known_ = false;
    return recurrence;
  }

  const llvm::SCEV* visitUnknown(const llvm::SCEVUnknown* unknown) {
    const auto* instruction = llvm::dyn_cast<llvm::Instruction>(unknown->getValue());
    known_ &= !instruction || dominators_.dominates(instruction, loop_->getLoopPreheader()->getTerminator());
    return unknown;
  }

  bool known() const { return known_; }

 private:
  const llvm::Loop* loop_;
  const llvm::SCEV* pass_;
  const llvm::DominatorTree& dominators_;
  bool known_ = true;
};

}  // namespace

std::optional<std::vector<SoughtValue>> FindSoughtState(llvm::Function& function, const LoopShape& shape,
                                                        llvm::ScalarEvolution& evolution,
                                                        const std::vector<llvm::StoreInst*>& others) {
  const llvm::DominatorTree dominators(function);
  const llvm::DataLayout& layout = function.getParent()->getDataLayout();
  llvm::Instruction* ahead = shape.loop->getLoopPreheader()->getTerminator();
  llvm::SCEVExpander expander(evolution, layout, "seek");
  const llvm::SCEV* pass = evolution.getMinusSCEV(evolution.getSCEV(function.getArg(kFirst)),
                                                  evolution.getOne(function.getArg(kFirst)->getType()));
  std::vector<SoughtValue> state;
  for (llvm::BasicBlock& block : function) {
    for (llvm::Instruction& instruction : block) {
      auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
      llvm::APInt offset(64, 0);
      if (!store || store->getPointerOperand()->stripAndAccumulateConstantOffsets(layout, offset, true) != function.getArg(kOut)) {
        continue;
      }
      if (llvm::is_contained(others, store)) continue;
      llvm::Value* value = store->getValueOperand();
      const auto* made_by = llvm::dyn_cast<llvm::Instruction>(value);
      SoughtValue sought{.offset = offset.getZExtValue()};
      if (!made_by || dominators.dominates(made_by, ahead)) {
        sought.invariant = value;
      } else if (evolution.isSCEVable(value->getType())) {
        AtEndOfPass rewriter(shape.loop, pass, evolution, dominators);
        sought.scev = rewriter.visit(evolution.getSCEV(value));
        if (!rewriter.known() || !expander.isSafeToExpandAt(sought.scev, ahead)) return std::nullopt;
      } else {
        return std::nullopt;
      }
      state.push_back(sought);
    }
  }
  return state;
}

llvm::Instruction* AddSeek(llvm::Function& function, const LoopShape& shape, const std::vector<SoughtValue>& state,
                           llvm::ScalarEvolution& evolution) {
  llvm::Instruction* ahead = shape.loop->getLoopPreheader()->getTerminator();
  llvm::SCEVExpander expander(evolution, function.getParent()->getDataLayout(), "seek");
  std::vector<llvm::Value*> values;  // computed ahead of the branch: the expander knows the blocks as they were
  for (const SoughtValue& sought : state) {
    values.push_back(sought.invariant ? sought.invariant : expander.expandCodeFor(sought.scev, sought.scev->getType(), ahead));
  }
  expander.clear();
  llvm::IRBuilder<> builder(ahead);
  llvm::Value* only_seeks = builder.CreateICmpEQ(function.getArg(kCount), builder.getInt64(0));
  llvm::Instruction* end = llvm::SplitBlockAndInsertIfThen(only_seeks, ahead->getIterator(), /*Unreachable=*/true);
  builder.SetInsertPoint(end);
  for (size_t i = 0; i < state.size(); ++i) {
    llvm::Value* to = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), function.getArg(kOut), state[i].offset);
    builder.CreateAlignedStore(values[i], to, llvm::Align(1));
  }
  llvm::Instruction* ret = builder.CreateRet(builder.getInt32(0));
  end->eraseFromParent();
  return ret;
}

}  // namespace tracelift::jit

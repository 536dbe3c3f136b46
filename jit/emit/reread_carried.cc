#include "jit/emit/reread_carried.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <set>

#include "jit/emit/entry_facts.h"
#include "jit/emit/loop_shape.h"

namespace tracelift::jit {
namespace {

class Rereader {
 public:
  Rereader(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution, llvm::DominatorTree& dominators)
      : region_(region), loops_(loops), evolution_(evolution), dominators_(dominators) {}

  bool Reread(llvm::PHINode& phi) {
    if (IsRecurrence(phi, &region_, evolution_) || KeptValueOf(&phi, &region_)) return false;
    llvm::StoreInst* store = LastStoreOf(phi.getIncomingValueForBlock(region_.getLoopLatch()));
    if (!store) return false;
    const llvm::SCEV* pointer = evolution_.getSCEVAtScope(store->getPointerOperand(), &region_);
    const auto* place = llvm::dyn_cast<llvm::SCEVAddRecExpr>(pointer);
    if (!place || place->getLoop() != &region_ || !place->isAffine()) return false;
    // Where the pass before stored.
    const llvm::SCEV* step = place->getStepRecurrence(evolution_);
    const llvm::SCEV* start = evolution_.getAddExpr(place->getStart(), evolution_.getNegativeSCEV(step));
    const llvm::SCEV* before = evolution_.getAddRecExpr(start, step, &region_, llvm::SCEV::FlagAnyWrap);
    llvm::Instruction* ahead = region_.getLoopPreheader()->getTerminator();
    llvm::Instruction* inside = &*region_.getHeader()->getFirstInsertionPt();
    llvm::SCEVExpander expander(evolution_, phi.getModule()->getDataLayout(), "reread");
    if (!expander.isSafeToExpandAt(start, ahead) || !expander.isSafeToExpandAt(before, inside)) return false;
    llvm::Value* at_entry = expander.expandCodeFor(start, store->getPointerOperandType(), ahead);
    llvm::Value* at_header = expander.expandCodeFor(before, store->getPointerOperandType(), inside);
    expander.clear();
    llvm::IRBuilder<> builder(ahead);
    llvm::Type* bits = builder.getIntNTy(static_cast<unsigned>(phi.getType()->getPrimitiveSizeInBits()));
    llvm::Value* held = builder.CreateBitCast(phi.getIncomingValueForBlock(region_.getLoopPreheader()), bits);
    RelyOn(builder.CreateICmpEQ(builder.CreateAlignedLoad(bits, at_entry, llvm::Align(1)), held), ahead);
    builder.SetInsertPoint(inside);
    builder.SetCurrentDebugLocation(store->getDebugLoc());
    phi.replaceAllUsesWith(builder.CreateAlignedLoad(phi.getType(), at_header, llvm::Align(1), "reread"));
    phi.eraseFromParent();
    return true;
  }

 private:
  // The store by which memory holds `carried` at the end of each pass; null when there is none.
  llvm::StoreInst* LastStoreOf(llvm::Value* carried) const {
    for (auto* phi = llvm::dyn_cast<llvm::PHINode>(carried); phi && phi->getNumIncomingValues() == 1;
         phi = llvm::dyn_cast<llvm::PHINode>(carried)) {
      carried = phi->getIncomingValue(0);
    }
    auto* value = llvm::dyn_cast<llvm::Instruction>(carried);
    if (!value || !region_.contains(value)) return nullptr;
    for (llvm::User* user : value->users()) {
      auto* store = llvm::dyn_cast<llvm::StoreInst>(user);
      if (store && store->getValueOperand() == value && store->isSimple() && IsMadeWhenever(*store, *value) && IsLast(*store))
        return store;
    }
    return nullptr;
  }

  // In the iteration that computes what is carried, too, so in every pass.
  bool IsMadeWhenever(const llvm::StoreInst& store, const llvm::Instruction& value) const {
    const llvm::Loop* loop = loops_.getLoopFor(store.getParent());
    if (loop != loops_.getLoopFor(value.getParent()) || !dominators_.dominates(store.getParent(), region_.getLoopLatch()))
      return false;
    llvm::SmallVector<llvm::BasicBlock*, 4> exiting;
    for (; loop != &region_; loop = loop->getParentLoop()) loop->getExitingBlocks(exiting);
    return llvm::all_of(exiting, [&](const llvm::BasicBlock* block) { return dominators_.dominates(store.getParent(), block); });
  }

  // Nothing is written behind it in the same pass.
  bool IsLast(const llvm::StoreInst& last) const {
    const auto writes = [&](const llvm::Instruction& instruction) { return &instruction != &last && instruction.mayWriteToMemory(); };
    std::set<const llvm::BasicBlock*> behind;
    std::vector<const llvm::BasicBlock*> work{last.getParent()};
    while (!work.empty()) {
      const llvm::BasicBlock* block = work.back();
      work.pop_back();
      for (const llvm::BasicBlock* next : llvm::successors(block)) {
        if (region_.contains(next) && next != region_.getHeader() && behind.insert(next).second) work.push_back(next);
      }
    }
    behind.erase(last.getParent());
    for (const llvm::BasicBlock* block : behind) {
      if (llvm::any_of(*block, writes)) return false;
    }
    // Of its own block, what comes first in an iteration comes before it in the last one.
    for (const llvm::Instruction* next = last.getNextNode(); next; next = next->getNextNode()) {
      if (writes(*next)) return false;
    }
    return true;
  }

  llvm::Loop& region_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  llvm::DominatorTree& dominators_;
};

}  // namespace

bool RereadCarriedValues(llvm::Function& function, Analyses& analyses) {
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  if (std::distance(loops.begin(), loops.end()) != 1) return false;
  llvm::Loop& region = **loops.begin();
  if (region.isInnermost() || !region.getLoopPreheader() || !region.getLoopLatch()) return false;
  Rereader rereader(region, loops, analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function),
                    analyses.function.getResult<llvm::DominatorTreeAnalysis>(function));
  bool changed = false;
  for (llvm::PHINode& phi : llvm::make_early_inc_range(region.getHeader()->phis())) changed |= rereader.Reread(phi);
  return changed;
}

}  // namespace tracelift::jit

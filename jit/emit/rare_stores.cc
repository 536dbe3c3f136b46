#include "jit/emit/rare_stores.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>

#include <vector>

#include "jit/emit/loop_shape.h"

namespace tracelift::jit {
namespace {

// To memory of the program, at an address that no pass changes. (Slots are no memory here, and faults are flagged through an
// argument.)
bool StaysInPlace(const llvm::StoreInst& store, const llvm::Loop* loop, llvm::ScalarEvolution& evolution) {
  const llvm::SCEV* address = evolution.getSCEV(const_cast<llvm::Value*>(store.getPointerOperand()));
  const auto* base = llvm::dyn_cast<llvm::SCEVUnknown>(evolution.getPointerBase(address));
  if (base && llvm::isa<llvm::AllocaInst, llvm::Argument>(base->getValue())) return false;
  return evolution.isLoopInvariant(address, loop);
}

bool GoesRoundWithout(const llvm::Loop* loop, const llvm::BasicBlock* block) {
  std::vector<llvm::BasicBlock*> work{loop->getHeader()};
  llvm::SmallPtrSet<const llvm::BasicBlock*, 32> seen{block};
  while (!work.empty()) {
    llvm::BasicBlock* at = work.back();
    work.pop_back();
    if (!loop->contains(at) || !seen.insert(at).second) continue;
    if (at == loop->getLoopLatch()) return true;
    for (llvm::BasicBlock* next : llvm::successors(at)) work.push_back(next);
  }
  return false;
}

// `store`, and what follows it in its block, is not reached any more.
void LeaveAt(llvm::StoreInst* store) {
  llvm::BasicBlock* block = store->getParent();
  for (llvm::BasicBlock* next : llvm::successors(block)) next->removePredecessor(block, /*KeepOneInputPHIs=*/true);
  const llvm::DebugLoc location = store->getDebugLoc();
  for (llvm::Instruction* last = &block->back();; last = &block->back()) {
    const bool is_first = last == store;
    last->replaceAllUsesWith(llvm::PoisonValue::get(last->getType()));
    last->eraseFromParent();
    if (is_first) break;
  }
  llvm::IRBuilder<> builder(block);
  builder.SetCurrentDebugLocation(location);
  builder.CreateBr(NewEnd(*block->getParent(), kDetourMarker));
}

}  // namespace

bool LeaveAtRareStores(llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution) {
  if (loops.empty()) return false;
  const llvm::Loop* loop = *loops.begin();
  if (loop->getLoopLatch() == nullptr) return false;
  std::vector<llvm::StoreInst*> stores;  // the first of each block
  for (llvm::BasicBlock* block : loop->blocks()) {
    for (llvm::Instruction& instruction : *block) {
      auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
      if (store == nullptr || !StaysInPlace(*store, loop, evolution)) continue;
      stores.push_back(store);
      break;
    }
  }
  bool any = false;
  for (llvm::StoreInst* store : stores) {
    if (!GoesRoundWithout(loop, store->getParent())) continue;
    LeaveAt(store);
    any = true;
  }
  return any;
}

}  // namespace tracelift::jit

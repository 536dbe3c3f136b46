#include "jit/emit/join_ends.h"

#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/PatternMatch.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>

#include <map>
#include <utility>
#include <vector>

namespace tracelift::jit {
namespace {

struct End {
  llvm::BasicBlock* block;
  llvm::BranchInst* branch;
  bool leaves_when_true;
};

// The ways to the latch that leave for `exit` instead when a condition holds.
std::vector<End> EndsOf(const llvm::Loop& loop, const llvm::BasicBlock* exit) {
  std::vector<End> ends;
  llvm::BasicBlock* latch = loop.getLoopLatch();
  for (llvm::BasicBlock* block : llvm::predecessors(latch)) {
    auto* branch = llvm::dyn_cast<llvm::BranchInst>(block->getTerminator());
    if (!branch || !branch->isConditional()) continue;
    for (unsigned way : {0u, 1u}) {
      const bool ends_here = branch->getSuccessor(way) == exit && branch->getSuccessor(1 - way) == latch;
      if (ends_here) ends.push_back({block, branch, way == 0});
    }
  }
  return ends;
}

// `to` is entered from `join` instead of from the ends, with what each of them brought.
void Redirect(llvm::BasicBlock* to, llvm::BasicBlock* join, const std::vector<End>& ends) {
  for (llvm::PHINode& phi : to->phis()) {
    llvm::IRBuilder<> builder(join, join->begin());
    llvm::PHINode* brought = builder.CreatePHI(phi.getType(), static_cast<unsigned>(ends.size()));
    brought->setDebugLoc(phi.getDebugLoc());
    for (const End& end : ends) {
      brought->addIncoming(phi.getIncomingValueForBlock(end.block), end.block);
      phi.removeIncomingValue(end.block, /*DeletePHIIfEmpty=*/false);
    }
    phi.addIncoming(brought, join);
  }
}

void Join(const std::vector<End>& ends, llvm::BasicBlock* latch, llvm::BasicBlock* exit) {
  llvm::BasicBlock* join = llvm::BasicBlock::Create(latch->getContext(), "join", latch->getParent(), latch);
  Redirect(latch, join, ends);
  Redirect(exit, join, ends);
  llvm::IRBuilder<> builder(join);
  llvm::PHINode* leaves = builder.CreatePHI(builder.getInt1Ty(), static_cast<unsigned>(ends.size()));
  for (const End& end : ends) {
    llvm::IRBuilder<> at_end(end.branch);
    llvm::Value* condition = end.branch->getCondition();
    leaves->addIncoming(end.leaves_when_true ? condition : at_end.CreateNot(condition), end.block);
    at_end.CreateBr(join);
  }
  builder.SetCurrentDebugLocation(ends.front().branch->getDebugLoc());
  builder.CreateCondBr(leaves, exit, latch);
  for (const End& end : ends) end.branch->eraseFromParent();
}

using Key = std::vector<const void*>;

template <typename Number>
const void* AsKey(Number number) {
  return reinterpret_cast<const void*>(static_cast<uintptr_t>(number));
}

// What two instructions that compute the same have in common; empty for what cannot be computed earlier than it is.
Key KeyOf(const llvm::Instruction& instruction) {
  if (!llvm::isa<llvm::BinaryOperator, llvm::ICmpInst, llvm::CastInst>(instruction)) return {};
  if (!instruction.getType()->isIntegerTy() || !llvm::isSafeToSpeculativelyExecute(&instruction)) return {};
  Key key{AsKey(instruction.getOpcode()), instruction.getType()};
  if (const auto* compare = llvm::dyn_cast<llvm::ICmpInst>(&instruction)) key.push_back(AsKey(compare->getPredicate()));
  for (const llvm::Value* operand : instruction.operands()) key.push_back(operand);
  return key;
}

// What is computed alike on several ways is computed once, ahead of where they part: a counter and its test are then the
// same on all of them. True when some was; others may compute the same now.
bool HoistDuplicates(const llvm::Loop& loop, llvm::DominatorTree& dominators) {
  std::map<Key, llvm::Instruction*> known;
  std::vector<std::pair<llvm::Instruction*, llvm::Instruction*>> duplicates;  // and what computed it first
  for (llvm::BasicBlock* block : loop.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      Key key = KeyOf(instruction);
      if (key.empty()) continue;
      const auto [first, is_new] = known.try_emplace(std::move(key), &instruction);
      if (!is_new && first->second->getParent() != block) duplicates.emplace_back(&instruction, first->second);
    }
  }
  for (const auto& [duplicate, first] : duplicates) {
    // Its operands dominate both, so they dominate what dominates both.
    llvm::BasicBlock* above = dominators.findNearestCommonDominator(first->getParent(), duplicate->getParent());
    if (above != first->getParent()) first->moveBefore(above->getTerminator());
    first->dropPoisonGeneratingFlags();
    duplicate->replaceAllUsesWith(first);
  }
  for (const auto& [duplicate, first] : duplicates) duplicate->eraseFromParent();
  return !duplicates.empty();
}

}  // namespace

namespace {

// The same step on all ways back.
bool IsCounter(const llvm::PHINode& phi, llvm::ArrayRef<llvm::BasicBlock*> latches) {
  namespace pattern = llvm::PatternMatch;
  const llvm::APInt* step = nullptr;
  return phi.getType()->isIntegerTy() && llvm::all_of(latches, [&](const llvm::BasicBlock* latch) {
           const llvm::APInt* by = nullptr;
           const llvm::Value* next = phi.getIncomingValueForBlock(latch);
           if (!pattern::match(next, pattern::m_Add(pattern::m_Specific(&phi), pattern::m_APInt(by)))) return false;
           const bool as_before = !step || *step == *by;
           step = by;
           return as_before;
         });
}

}  // namespace

bool JoinLatches(llvm::LoopInfo& loops) {
  bool changed = false;
  for (llvm::Loop* loop : loops.getLoopsInPreorder()) {
    llvm::SmallVector<llvm::BasicBlock*, 4> latches;
    loop->getLoopLatches(latches);
    const auto is_counter = [&](const llvm::PHINode& phi) { return IsCounter(phi, latches); };
    if (latches.size() < 2 || llvm::none_of(loop->getHeader()->phis(), is_counter)) continue;
    changed |= llvm::SplitBlockPredecessors(loop->getHeader(), latches, ".latch") != nullptr;
  }
  return changed;
}

bool JoinEnds(llvm::LoopInfo& loops, llvm::DominatorTree& dominators) {
  for (llvm::Loop* loop : loops.getLoopsInPreorder()) {
    if (!loop->getLoopLatch()) continue;
    llvm::SmallVector<llvm::BasicBlock*, 8> exits;
    loop->getUniqueExitBlocks(exits);
    for (llvm::BasicBlock* exit : exits) {
      const std::vector<End> ends = EndsOf(*loop, exit);
      if (ends.size() < 2) continue;
      while (HoistDuplicates(*loop, dominators)) continue;
      Join(ends, loop->getLoopLatch(), exit);
      return true;
    }
  }
  return false;
}

}  // namespace tracelift::jit

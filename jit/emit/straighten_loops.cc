#include "jit/emit/straighten_loops.h"

#include <llvm/Analysis/AliasAnalysis.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/LoopIterator.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/Instructions.h>
#include <llvm/Transforms/Utils/LowerSwitch.h>

#include <algorithm>
#include <map>
#include <vector>

#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

bool IsInnermostWithOneEnd(const llvm::Loop& loop) {
  return loop.isInnermost() && loop.getLoopPreheader() && loop.getLoopLatch() &&
         loop.getExitingBlock() == loop.getLoopLatch();
}

class Straightener {
 public:
  Straightener(llvm::Loop& loop, llvm::LoopInfo& loops, llvm::DominatorTree& dominators, llvm::AAResults& alias,
               const llvm::Value* memory)
      : loop_(loop), dominators_(dominators), alias_(alias), memory_(memory) {
    llvm::LoopBlocksRPO order(&loop);
    order.perform(&loops);
    for (llvm::BasicBlock* block : order) {
      places_[block] = blocks_.size();
      blocks_.push_back(block);
    }
  }

  bool AlwaysStore() {
    bool changed = false;
    for (llvm::BasicBlock* block : blocks_) {
      auto* store = llvm::dyn_cast_or_null<llvm::StoreInst>(LastAccess(*block));
      if (store && IsSometimes(block)) changed |= StoreBehind(*store);
    }
    return changed;
  }

  bool AlwaysLoad() {
    bool changed = false;
    for (llvm::BasicBlock* block : blocks_) {
      if (!IsSometimes(block)) continue;
      for (llvm::Instruction& instruction : llvm::make_early_inc_range(*block)) {
        auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction);
        if (load && IsOfProgram(*load)) changed |= Hoist(*load);
      }
    }
    return changed;
  }

 private:
  bool IsSometimes(llvm::BasicBlock* block) const { return !dominators_.dominates(block, loop_.getLoopLatch()); }

  template <typename Access>
  bool IsOfProgram(const Access& access) const {
    return access.isSimple() && llvm::getUnderlyingObject(access.getPointerOperand(), 0) == memory_;
  }

  static llvm::Instruction* LastAccess(llvm::BasicBlock& block) {
    for (llvm::Instruction& instruction : llvm::reverse(block)) {
      if (instruction.mayReadOrWriteMemory()) return &instruction;
    }
    return nullptr;
  }

  // Whether nothing but `but_for` writes there between the load and `end`.
  bool Stays(const llvm::LoadInst& load, const llvm::Instruction& end, const llvm::StoreInst* but_for) {
    const llvm::MemoryLocation location = llvm::MemoryLocation::get(&load);
    for (size_t place = places_.at(load.getParent()); place <= places_.at(end.getParent()); ++place) {
      for (llvm::Instruction& instruction : *blocks_[place]) {
        const bool before = instruction.getParent() == load.getParent() && instruction.comesBefore(&load);
        const bool behind = instruction.getParent() == end.getParent() && !instruction.comesBefore(&end);
        if (before || behind || &instruction == but_for || !instruction.mayWriteToMemory()) continue;
        if (llvm::isModSet(alias_.getModRefInfo(&instruction, location))) return false;
      }
    }
    return true;
  }

  // What this iteration has read from there.
  llvm::LoadInst* ReadOf(llvm::StoreInst& store) const {
    for (llvm::User* user : store.getPointerOperand()->users()) {
      auto* load = llvm::dyn_cast<llvm::LoadInst>(user);
      if (!load || !loop_.contains(load) || load->getType() != store.getValueOperand()->getType()) continue;
      if (!load->isSimple() || IsSometimes(load->getParent())) continue;
      if (dominators_.dominates(load, &store)) return load;
    }
    return nullptr;
  }

  // At the start of the block behind it, which others lead to that do not write.
  bool StoreBehind(llvm::StoreInst& store) {
    llvm::BasicBlock* block = store.getParent();
    llvm::BasicBlock* behind = block->getSingleSuccessor();
    if (!behind || behind == loop_.getHeader() || !loop_.contains(behind) || !IsOfProgram(store)) return false;
    llvm::LoadInst* before = ReadOf(store);
    if (!before || !dominators_.dominates(before->getParent(), behind)) return false;
    if (!Stays(*before, *behind->getFirstNonPHI(), &store)) return false;
    llvm::Type* type = store.getValueOperand()->getType();
    auto* value = llvm::PHINode::Create(type, 2, "stored", behind->begin());
    for (llvm::BasicBlock* from : llvm::predecessors(behind))
      value->addIncoming(from == block ? store.getValueOperand() : before, from);
    store.setOperand(0, value);
    store.moveBefore(*behind, behind->getFirstInsertionPt());
    return true;
  }

  // To the first block on the way that every iteration comes by last.
  bool Hoist(llvm::LoadInst& load) {
    llvm::BasicBlock* to = load.getParent();
    while (IsSometimes(to)) to = dominators_.getNode(to)->getIDom()->getBlock();
    std::vector<llvm::Instruction*> moved;
    if (!loop_.contains(to) || !CollectMoved(load.getPointerOperand(), to, moved)) return false;
    const llvm::MemoryLocation location = llvm::MemoryLocation::get(&load);
    for (size_t place = places_.at(to) + 1; place <= places_.at(load.getParent()); ++place) {
      for (llvm::Instruction& instruction : *blocks_[place]) {
        if (&instruction == &load) break;
        if (instruction.mayWriteToMemory() && llvm::isModSet(alias_.getModRefInfo(&instruction, location)))
          return false;
      }
    }
    for (llvm::Instruction* instruction : moved) {
      instruction->moveBefore(to->getTerminator());
      instruction->dropPoisonGeneratingFlags();
    }
    load.moveBefore(to->getTerminator());
    load.dropUnknownNonDebugMetadata(
        {llvm::LLVMContext::MD_alias_scope, llvm::LLVMContext::MD_noalias, llvm::LLVMContext::MD_access_group});
    return true;
  }

  // What computes `value` behind `to`, in order.
  bool CollectMoved(llvm::Value* value, const llvm::BasicBlock* to, std::vector<llvm::Instruction*>& moved) const {
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (!instruction || dominators_.dominates(instruction->getParent(), to) || llvm::is_contained(moved, instruction))
      return true;
    if (llvm::isa<llvm::PHINode>(instruction) || instruction->mayReadOrWriteMemory()) return false;
    if (!llvm::isSafeToSpeculativelyExecute(instruction)) return false;
    for (llvm::Value* operand : instruction->operands()) {
      if (!CollectMoved(operand, to, moved)) return false;
    }
    moved.push_back(instruction);
    return true;
  }

  llvm::Loop& loop_;
  llvm::DominatorTree& dominators_;
  llvm::AAResults& alias_;
  const llvm::Value* memory_;
  std::vector<llvm::BasicBlock*> blocks_;  // each after all that lead to it
  std::map<const llvm::BasicBlock*, size_t> places_;
};

bool HasSwitch(const llvm::Loop& loop) {
  return llvm::any_of(loop.blocks(),
                      [](llvm::BasicBlock* block) { return llvm::isa<llvm::SwitchInst>(block->getTerminator()); });
}

}  // namespace

llvm::PreservedAnalyses StraightenLoops::run(llvm::Function& function, llvm::FunctionAnalysisManager& analyses) {
  const llvm::Value* memory = ProgramMemory(function);
  if (!memory) return llvm::PreservedAnalyses::all();
  const auto innermost = [&] {
    std::vector<llvm::Loop*> found;
    for (llvm::Loop* loop : analyses.getResult<llvm::LoopAnalysis>(function).getLoopsInPreorder()) {
      if (IsInnermostWithOneEnd(*loop)) found.push_back(loop);
    }
    return found;
  };
  bool changed = llvm::any_of(innermost(), [](const llvm::Loop* loop) { return HasSwitch(*loop); });
  if (changed) analyses.invalidate(function, llvm::LowerSwitchPass().run(function, analyses));
  const bool reads_all = !function.hasFnAttribute(kReadsOnlyWhenThere);
  auto& loops = analyses.getResult<llvm::LoopAnalysis>(function);
  auto& dominators = analyses.getResult<llvm::DominatorTreeAnalysis>(function);
  auto& alias = analyses.getResult<llvm::AAManager>(function);
  for (llvm::Loop* loop : innermost()) {
    Straightener straightener(*loop, loops, dominators, alias, memory);
    if (!masked_stores_) changed |= straightener.AlwaysStore();
    if (reads_all) changed |= straightener.AlwaysLoad();
  }
  return changed ? llvm::PreservedAnalyses::none() : llvm::PreservedAnalyses::all();
}

}  // namespace tracelift::jit

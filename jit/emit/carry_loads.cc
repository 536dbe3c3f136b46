#include "jit/emit/carry_loads.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <optional>
#include <vector>

namespace tracelift::jit {
namespace {

// What is read or written in each iteration, once, at an address that steps by a constant.
struct Moving {
  llvm::Instruction* instruction;
  llvm::Value* value;  // what is there afterwards
  const llvm::SCEV* start;
  int64_t step;
  int64_t bytes;
};

class Carrier {
 public:
  Carrier(llvm::Loop& loop, llvm::ScalarEvolution& evolution)
      : loop_(loop), evolution_(evolution), dominators_(*loop.getHeader()->getParent()) {}

  void Run() {
    if (!FindAccesses()) return;
    for (Moving& later : moving_) {
      if (!llvm::isa<llvm::LoadInst>(later.instruction)) continue;
      const auto earlier = llvm::find_if(moving_, [&](const Moving& access) { return IsReadAgain(access, later); });
      if (earlier != moving_.end()) Carry(later, *earlier);
    }
    for (llvm::Instruction* load : carried_) load->eraseFromParent();
  }

 private:
  // False when something else may be written.
  bool FindAccesses() {
    for (llvm::BasicBlock* block : loop_.blocks()) {
      for (llvm::Instruction& instruction : *block) {
        llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction);
        if (!pointer) {
          if (instruction.mayWriteToMemory()) return false;
          continue;
        }
        if (llvm::isa<llvm::AllocaInst>(pointer)) continue;  // a flag of the chunk's
        const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution_.getSCEV(pointer));
        const auto* step = recurrence && recurrence->getLoop() == &loop_ && recurrence->isAffine()
                               ? llvm::dyn_cast<llvm::SCEVConstant>(recurrence->getStepRecurrence(evolution_))
                               : nullptr;
        auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
        if (!step || instruction.isVolatile()) {
          if (store) return false;
          continue;
        }
        const auto bytes = static_cast<int64_t>(
            instruction.getModule()->getDataLayout().getTypeStoreSize(llvm::getLoadStoreType(&instruction)));
        const Moving access{&instruction, store ? store->getValueOperand() : &instruction, recurrence->getStart(),
                            step->getAPInt().getSExtValue(), bytes};
        if (store) stores_.push_back(access);
        if (dominators_.dominates(block, loop_.getLoopLatch())) moving_.push_back(access);
      }
    }
    return true;
  }

  // How many bytes `b` begins behind `a` in the same iteration.
  std::optional<int64_t> Distance(const Moving& a, const Moving& b) const {
    const auto* difference = llvm::dyn_cast<llvm::SCEVConstant>(evolution_.getMinusSCEV(b.start, a.start));
    if (!difference || a.step != b.step || difference->getAPInt().getSignificantBits() > 62) return std::nullopt;
    return difference->getAPInt().getSExtValue();
  }

  // What `later` reads is what `earlier` read or wrote an iteration before.
  bool IsReadAgain(const Moving& earlier, const Moving& later) const {
    if (&earlier == &later || earlier.value->getType() != later.instruction->getType()) return false;
    const std::optional<int64_t> ahead = Distance(later, earlier);
    if (!ahead || *ahead != later.step || later.step == 0) return false;
    // Nothing is written there in between, in this iteration or the one before.
    return llvm::all_of(stores_, [&](const Moving& store) {
      if (store.instruction == earlier.instruction) return std::abs(store.step) >= store.bytes;
      const std::optional<int64_t> now = Distance(later, store);
      const auto apart = [&](int64_t distance) { return distance >= later.bytes || -distance >= store.bytes; };
      return now && apart(*now) && apart(*now - store.step);
    });
  }

  void Carry(Moving& later, const Moving& earlier) {
    llvm::Instruction* load = later.instruction;
    llvm::BasicBlock *preheader = loop_.getLoopPreheader(), *latch = loop_.getLoopLatch();
    llvm::SCEVExpander expander(evolution_, load->getModule()->getDataLayout(), "carried");
    llvm::Instruction* place = preheader->getTerminator();
    if (!expander.isSafeToExpandAt(later.start, place)) return;
    llvm::Value* from = expander.expandCodeFor(later.start, llvm::getLoadStorePointerOperand(load)->getType(), place);
    llvm::Instruction* first = load->clone();
    first->setOperand(0, from);
    first->insertBefore(place);
    llvm::PHINode* carried = llvm::PHINode::Create(load->getType(), 2, "carried", loop_.getHeader()->begin());
    carried->addIncoming(first, preheader);
    carried->addIncoming(earlier.value, latch);
    load->replaceAllUsesWith(carried);
    for (Moving& access : moving_) {
      if (access.value == load) access.value = carried;
    }
    evolution_.forgetValue(load);
    carried_.push_back(load);
  }

  llvm::Loop& loop_;
  llvm::ScalarEvolution& evolution_;
  llvm::DominatorTree dominators_;
  std::vector<Moving> moving_, stores_;
  std::vector<llvm::Instruction*> carried_;
};

}  // namespace

void CarryLoads(llvm::Loop& loop, llvm::ScalarEvolution& evolution) { Carrier(loop, evolution).Run(); }

}  // namespace tracelift::jit

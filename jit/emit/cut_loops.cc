#include "jit/emit/cut_loops.h"

#include <llvm/IR/IntrinsicInst.h>

#include <algorithm>

#include "jit/emit/triangle_panels.h"

namespace tracelift::jit {
namespace {

std::set<const llvm::Instruction*> NeededIn(const llvm::Loop& region) {
  std::set<const llvm::Instruction*> needed;
  std::vector<const llvm::Instruction*> work;
  const auto need = [&](const llvm::Instruction& instruction) {
    if (region.contains(&instruction) && needed.insert(&instruction).second) work.push_back(&instruction);
  };
  for (const llvm::BasicBlock* block : region.blocks()) {
    for (const llvm::Instruction& instruction : *block) {
      if (instruction.isTerminator() || instruction.mayHaveSideEffects()) need(instruction);
    }
  }
  while (!work.empty()) {
    const llvm::Instruction* instruction = work.back();
    work.pop_back();
    for (const llvm::Value* operand : instruction->operands()) {
      if (const auto* by = llvm::dyn_cast<llvm::Instruction>(operand)) need(*by);
    }
  }
  return needed;
}

}  // namespace

bool StoresToMemory(const llvm::Instruction& instruction) {
  return llvm::isa<llvm::StoreInst>(instruction) ||
         (llvm::isa<llvm::IntrinsicInst>(instruction) && instruction.mayWriteToMemory());
}

CutLoops::CutLoops(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution, const SeenFootprint& seen,
                   Lengths lengths)
    : region_(region), loops_(loops), evolution_(evolution), seen_(seen), lengths_(lengths), needed_(NeededIn(region)) {}

int64_t CutLoops::LengthOf(llvm::Loop& loop) const {
  if (&loop == &region_ || !loop.getLoopLatch() || !loop.getLoopPreheader()) return 0;
  const llvm::SCEV* taken = evolution_.getExitCount(&loop, loop.getLoopLatch());
  if (llvm::isa<llvm::SCEVCouldNotCompute>(taken)) return 0;
  if (lengths_ == Lengths::kSteady && !evolution_.isLoopInvariant(taken, &region_) && !Grows(loop)) return 0;
  return seen_.LengthOf(loop.getHeader());
}

bool CutLoops::Grows(llvm::Loop& loop) const { return jit::Grows(loop, region_, evolution_); }

bool CutLoops::AreOfOneLength(llvm::Loop& a, llvm::Loop& b) const {
  if (lengths_ == Lengths::kAny || (!Grows(a) && !Grows(b))) return LengthOf(a) == LengthOf(b);
  return evolution_.getExitCount(&a, a.getLoopLatch()) == evolution_.getExitCount(&b, b.getLoopLatch());
}

std::vector<llvm::Loop*> CutLoops::LoopsWith(llvm::Loop& loop) const {
  std::vector<llvm::Loop*> cut{&loop};
  for (llvm::BasicBlock* block : region_.blocks()) {
    if (llvm::none_of(*block, StoresToMemory)) continue;
    llvm::Loop* around = loops_.getLoopFor(block);
    while (around != &region_ && std::ranges::find(cut, around) == cut.end() &&
           (LengthOf(*around) == 0 || !AreOfOneLength(*around, loop))) {
      around = around->getParentLoop();
    }
    if (around == &region_) return {};
    if (std::ranges::find(cut, around) == cut.end()) cut.push_back(around);
  }
  for (const llvm::Loop* a : cut) {
    for (const llvm::Loop* b : cut) {
      if (a != b && a->contains(b)) return {};
    }
  }
  return cut;
}

bool CutLoops::HandsOnValues(const llvm::Loop& loop) const {
  return llvm::any_of(loop.blocks(), [&](const llvm::BasicBlock* block) {
    return llvm::any_of(*block, [&](const llvm::Instruction& value) {
      return llvm::any_of(value.users(), [&](const llvm::User* user) {
        const auto* by = llvm::cast<llvm::Instruction>(user);
        return needed_.contains(by) && !loop.contains(by);
      });
    });
  });
}

}  // namespace tracelift::jit

#include "jit/emit/window_reads.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>

#include "jit/emit/guarded_read.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/program_memory.h"
#include "jit/machine_state.h"

namespace tracelift::jit {
namespace {

void AddFixedTerms(const llvm::SCEV* part, const llvm::Loop* outer, llvm::ScalarEvolution& evolution,
                   std::vector<const llvm::SCEV*>* terms) {
  if (evolution.isLoopInvariant(part, outer)) {
    terms->push_back(part);
  } else if (const auto* sum = llvm::dyn_cast<llvm::SCEVAddExpr>(part)) {
    for (const llvm::SCEV* operand : sum->operands()) AddFixedTerms(operand, outer, evolution, terms);
  } else if (const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(part)) {
    AddFixedTerms(recurrence->getStart(), outer, evolution, terms);
  }
}

bool DependsOnData(const llvm::SCEV* count, const llvm::Loop* outer) {
  return llvm::SCEVExprContains(count, [&](const llvm::SCEV* part) {
    const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(part);
    const auto* value = unknown ? llvm::dyn_cast<llvm::Instruction>(unknown->getValue()) : nullptr;
    return value && outer->contains(value);
  });
}

// Control goes to `end` behind `block` when a read has strayed.
void LeaveBehind(llvm::BasicBlock* block, llvm::BasicBlock* end, llvm::AllocaInst* strayed) {
  llvm::Instruction* last = block->getTerminator();
  llvm::BasicBlock* stay = llvm::SplitBlock(block, last->getIterator());
  llvm::IRBuilder<> builder(block->getTerminator());
  builder.CreateCondBr(builder.CreateLoad(builder.getInt1Ty(), strayed), end, stay);
  block->getTerminator()->eraseFromParent();
}

}  // namespace

std::vector<const llvm::SCEV*> FixedTermsOf(llvm::Value* pointer, const llvm::Loop* outer,
                                            llvm::ScalarEvolution& evolution) {
  constexpr size_t kMostValues = 16;
  std::vector<const llvm::SCEV*> all;
  llvm::SmallVector<llvm::Value*, 4> pending{pointer};
  llvm::SmallPtrSet<llvm::Value*, 8> seen;
  bool any = false;
  while (!pending.empty()) {
    llvm::Value* value = pending.pop_back_val();
    if (!seen.insert(value).second) continue;
    if (seen.size() > kMostValues) return {};
    if (const llvm::SCEV* address = AddressOf(value, evolution)) {
      std::vector<const llvm::SCEV*> terms;
      AddFixedTerms(address, outer, evolution, &terms);
      if (any && terms != all) return {};
      all = std::move(terms);
      any = true;
    } else if (auto* phi = llvm::dyn_cast<llvm::PHINode>(value)) {
      pending.append(phi->op_begin(), phi->op_end());
    } else if (auto* select = llvm::dyn_cast<llvm::SelectInst>(value)) {
      pending.append({select->getTrueValue(), select->getFalseValue()});
    } else {
      return {};
    }
  }
  return all;
}

std::vector<DataBound> DataBoundsOf(const llvm::Loop* outer, llvm::ScalarEvolution& evolution) {
  std::vector<DataBound> bounds;
  for (const llvm::Loop* loop : outer->getLoopsInPreorder()) {
    if (loop == outer) continue;
    const llvm::SCEV* count = evolution.getBackedgeTakenCount(loop);
    const bool counted = !llvm::isa<llvm::SCEVCouldNotCompute>(count);
    if (counted && !DependsOnData(count, outer)) continue;
    DataBound& bound = bounds.emplace_back();
    if (counted && loop->getLoopPreheader()) {
      bound.before.push_back(loop->getLoopPreheader());
      continue;
    }
    llvm::SmallVector<llvm::BasicBlock*, 2> latches;
    loop->getLoopLatches(latches);
    bound.latches.assign(latches.begin(), latches.end());
  }
  return bounds;
}

WindowBounds BoundsOf(const WindowRead& read, llvm::AllocaInst* strayed, std::map<int, WindowBounds>* known,
                      llvm::IRBuilder<>& builder) {
  llvm::Function& function = *read.load->getFunction();
  const auto [found, is_new] = known->try_emplace(read.window);
  if (is_new) {
    llvm::IRBuilder<> entry(strayed->getNextNode());
    const auto field = [&](size_t offset) {
      offset += offsetof(MachineState, window) + sizeof(ReadWindow) * static_cast<size_t>(read.window);
      llvm::Value* from = entry.CreateConstInBoundsGEP1_64(entry.getInt8Ty(), function.getArg(0), offset);
      return entry.CreateAlignedLoad(entry.getInt64Ty(), from, llvm::Align(8), "window");
    };
    llvm::Value* begin = field(offsetof(ReadWindow, begin));
    found->second = {begin, entry.CreateSub(field(offsetof(ReadWindow, end)), begin)};
  }
  const uint64_t bytes = function.getParent()->getDataLayout().getTypeStoreSize(read.load->getType());
  return {found->second.begin, builder.CreateSub(found->second.last, builder.getInt64(bytes))};
}

void MarkUnwritten(llvm::LoadInst* load) {
  load->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(load->getContext(), {}));
}

void GuardWindowReads(const std::vector<WindowRead>& reads, llvm::AllocaInst* strayed) {
  std::map<int, WindowBounds> bounds;
  for (const WindowRead& read : reads) {
    llvm::IRBuilder<> builder(read.load);
    const auto [begin, last] = BoundsOf(read, strayed, &bounds, builder);
    KeepInside(read.load, begin, last, strayed, builder);
    MarkUnwritten(read.load);
  }
}

void LeaveWhenStrayed(llvm::Function& function, const std::vector<DataBound>& bounds, llvm::AllocaInst* strayed) {
  if (bounds.empty()) return;
  llvm::BasicBlock* end = NewEnd(function, kStrayedMarker);
  for (const DataBound& bound : bounds) {
    for (llvm::BasicBlock* block : bound.before) LeaveBehind(block, end, strayed);
    for (llvm::BasicBlock* block : bound.latches) LeaveBehind(block, end, strayed);
  }
}

}  // namespace tracelift::jit

#include "jit/emit/window_reads.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>

#include <map>
#include <optional>
#include <utility>

#include "jit/emit/guarded_read.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/program_memory.h"
#include "jit/machine_state.h"

namespace tracelift::jit {
namespace {

using Terms = std::vector<const llvm::SCEV*>;

// The parts of an address that are fixed, also where it is one of several: `best` points to one of an array's elements, or is
// null. Only where to look for memory depends on this, so what an address is made of besides may be anything.
class FixedParts {
 public:
  FixedParts(const llvm::Loop* outer, llvm::ScalarEvolution& evolution) : outer_(outer), evolution_(evolution) {}

  // Null when the values that this one may be do not agree, or one of them is too hard.
  std::optional<Terms> OfValue(llvm::Value* value) {
    const bool is_pointer = value->getType()->isPointerTy();
    if (is_pointer) {
      if (const llvm::SCEV* address = AddressOf(value, evolution_)) return OfSum(address);
    } else if (const llvm::SCEV* number = evolution_.getSCEV(value); !llvm::isa<llvm::SCEVUnknown>(number)) {
      return OfSum(number);
    }
    llvm::SmallVector<llvm::Value*, 4> choices;
    if (auto* phi = llvm::dyn_cast<llvm::PHINode>(value)) {
      choices.append(phi->op_begin(), phi->op_end());
    } else if (auto* select = llvm::dyn_cast<llvm::SelectInst>(value)) {
      choices.append({select->getTrueValue(), select->getFalseValue()});
    } else {
      return is_pointer ? std::nullopt : std::optional(Terms());
    }
    seen_.insert(value);
    if (seen_.size() > kMostChoices) return std::nullopt;
    std::optional<Terms> common;
    for (llvm::Value* choice : choices) {
      if (seen_.contains(choice) || IsNull(choice)) continue;
      const bool was_around = std::exchange(comes_around_, false);
      std::optional<Terms> terms = OfValue(choice);
      const bool tells_nothing = std::exchange(comes_around_, was_around);
      if (!terms || (common && !tells_nothing && *terms != *common)) return std::nullopt;
      if (!tells_nothing) common = std::move(terms);
    }
    comes_around_ |= !common;
    return common ? common : std::optional(Terms());
  }

 private:
  static constexpr size_t kMostChoices = 16;

  static bool IsNull(const llvm::Value* value) {
    const auto* constant = llvm::dyn_cast<llvm::Constant>(value);
    return constant && constant->isNullValue();
  }

  std::optional<Terms> OfSum(const llvm::SCEV* part) {
    if (evolution_.isLoopInvariant(part, outer_)) return part->isZero() ? Terms() : Terms{part};
    if (const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(part)) return OfSum(recurrence->getStart());
    if (const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(part)) {
      comes_around_ |= seen_.contains(unknown->getValue());
      return seen_.contains(unknown->getValue()) ? Terms() : OfValue(unknown->getValue());
    }
    Terms all;
    const auto* sum = llvm::dyn_cast<llvm::SCEVAddExpr>(part);
    if (!sum) return all;
    for (const llvm::SCEV* operand : sum->operands()) {
      const std::optional<Terms> terms = OfSum(operand);
      if (!terms) return std::nullopt;
      all.insert(all.end(), terms->begin(), terms->end());
    }
    return all;
  }

  const llvm::Loop* outer_;
  llvm::ScalarEvolution& evolution_;
  llvm::SmallPtrSet<llvm::Value*, 8> seen_;  // choices under way or done
  bool comes_around_ = false;                // what was looked at is only other choices, or made from one
};

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
  return FixedParts(outer, evolution).OfValue(pointer).value_or(Terms());
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

void GuardWindowReads(const std::vector<WindowRead>& reads, llvm::AllocaInst* strayed) {
  struct Bounds {
    llvm::Value* begin;
    llvm::Value* end;
  };
  std::map<int, Bounds> bounds;
  for (const WindowRead& read : reads) {
    llvm::Function& function = *read.load->getFunction();
    if (!bounds.contains(read.window)) {
      llvm::IRBuilder<> entry(strayed->getNextNode());
      const auto field = [&](size_t offset) {
        offset += offsetof(MachineState, window) + sizeof(ReadWindow) * static_cast<size_t>(read.window);
        llvm::Value* from = entry.CreateConstInBoundsGEP1_64(entry.getInt8Ty(), function.getArg(0), offset);
        return entry.CreateAlignedLoad(entry.getInt64Ty(), from, llvm::Align(8), "window");
      };
      llvm::Value* begin = field(offsetof(ReadWindow, begin));
      bounds[read.window] = {begin, field(offsetof(ReadWindow, end))};
    }
    const auto& [begin, end] = bounds.at(read.window);
    const uint64_t bytes = function.getParent()->getDataLayout().getTypeStoreSize(read.load->getType());
    llvm::IRBuilder<> builder(read.load);
    KeepInside(read.load, begin, builder.CreateSub(builder.CreateSub(end, begin), builder.getInt64(bytes)), strayed,
               builder);
    // By nobody in this chunk.
    read.load->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(function.getContext(), {}));
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

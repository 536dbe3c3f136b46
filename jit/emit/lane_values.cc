#include "jit/emit/lane_values.h"

#include <llvm/Analysis/CFG.h>
#include <llvm/Analysis/LoopIterator.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>

#include "jit/emit/handed_reads.h"
#include "jit/emit/loop_shape.h"

namespace tracelift::jit {

std::vector<llvm::BasicBlock*> ExitsInside(const llvm::Loop& loop, const llvm::Loop& lanes) {
  llvm::SmallVector<llvm::BasicBlock*, 4> all;
  loop.getUniqueExitBlocks(all);
  std::vector<llvm::BasicBlock*> inside;
  llvm::copy_if(all, std::back_inserter(inside), [&](const llvm::BasicBlock* exit) { return lanes.contains(exit); });
  return inside;
}

std::optional<LaneValues> LaneValues::Of(llvm::Loop& lanes, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution) {
  LaneValues values(lanes, loops, evolution);
  if (!values.FindHeaderValues()) return std::nullopt;
  llvm::LoopBlocksRPO order(&lanes);
  order.perform(&loops);
  if (llvm::containsIrreducibleCFG<llvm::BasicBlock*>(order, loops)) return std::nullopt;
  // From all values alike up to what must differ; kinds only ever rise.
  for (bool changed = true; changed;) {
    changed = false;
    for (llvm::BasicBlock* block : order) {
      for (llvm::Instruction& instruction : *block) {
        const LaneValue before = values.Of(&instruction);
        if (before.kind == LaneKind::kVarying || values.IsKept(llvm::dyn_cast<llvm::PHINode>(&instruction))) continue;
        LaneValue now = values.KindOf(instruction);
        if (now == before) continue;
        if (now.kind < before.kind || (now.kind == before.kind && before.kind == LaneKind::kAffine))
          now = {LaneKind::kVarying, 0};
        values.values_[&instruction] = now;
        changed = true;
      }
    }
    if (!values.FollowBranches(&changed)) return std::nullopt;
  }
  return values;
}

LaneValue LaneValues::Of(const llvm::Value* value) const {
  const auto found = values_.find(value);
  return found == values_.end() ? LaneValue{} : found->second;
}

bool LaneValues::FindHeaderValues() {
  for (llvm::PHINode& phi : lanes_.getHeader()->phis()) {
    const llvm::SCEV* scev = evolution_.isSCEVable(phi.getType()) ? evolution_.getSCEV(&phi) : nullptr;
    const auto* recurrence = scev ? llvm::dyn_cast<llvm::SCEVAddRecExpr>(scev) : nullptr;
    const auto* step = recurrence && recurrence->getLoop() == &lanes_ && recurrence->isAffine()
                           ? llvm::dyn_cast<llvm::SCEVConstant>(recurrence->getStepRecurrence(evolution_))
                           : nullptr;
    if (step) {
      values_[&phi] = {LaneKind::kAffine, step->getAPInt().getSExtValue()};
    } else if (KeptValueOf(&phi, &lanes_)) {
      kept_.insert(&phi);
    } else {
      return false;
    }
  }
  return true;
}

// By how much the value grows from one lane to the next; nullopt when that is no constant.
std::optional<int64_t> LaneValues::StrideOf(const llvm::SCEV* scev) const {
  const auto sum = [&](llvm::ArrayRef<const llvm::SCEV*> operands) -> std::optional<int64_t> {
    int64_t total = 0;
    for (const llvm::SCEV* operand : operands) {
      const std::optional<int64_t> stride = StrideOf(operand);
      if (!stride || __builtin_add_overflow(total, *stride, &total)) return std::nullopt;
    }
    return total;
  };
  const auto only_uniform = [&](llvm::ArrayRef<const llvm::SCEV*> operands) -> std::optional<int64_t> {
    for (const llvm::SCEV* operand : operands) {
      if (StrideOf(operand) != 0) return std::nullopt;
    }
    return 0;
  };
  switch (scev->getSCEVType()) {
    case llvm::scConstant:
    case llvm::scVScale:
      return 0;
    case llvm::scUnknown: {
      const LaneValue value = Of(llvm::cast<llvm::SCEVUnknown>(scev)->getValue());
      if (value.kind == LaneKind::kVarying) return std::nullopt;
      return value.stride;
    }
    case llvm::scAddRecExpr: {
      const auto* recurrence = llvm::cast<llvm::SCEVAddRecExpr>(scev);
      const std::optional<int64_t> start = StrideOf(recurrence->getStart());
      if (!start) return std::nullopt;
      if (recurrence->getLoop() != &lanes_) {
        return only_uniform(recurrence->operands().drop_front()) ? start : std::nullopt;
      }
      const auto* step = llvm::dyn_cast<llvm::SCEVConstant>(recurrence->getOperand(1));
      if (!step || !recurrence->isAffine() || *start != 0) return std::nullopt;
      return step->getAPInt().getSExtValue();
    }
    case llvm::scAddExpr:
      return sum(llvm::cast<llvm::SCEVAddExpr>(scev)->operands());
    case llvm::scMulExpr: {
      const auto* product = llvm::cast<llvm::SCEVMulExpr>(scev);
      const auto* factor = llvm::dyn_cast<llvm::SCEVConstant>(product->getOperand(0));
      if (!factor || product->getNumOperands() != 2) return only_uniform(product->operands());
      const std::optional<int64_t> stride = StrideOf(product->getOperand(1));
      int64_t result = 0;
      if (!stride || __builtin_mul_overflow(*stride, factor->getAPInt().getSExtValue(), &result)) return std::nullopt;
      return result;
    }
    case llvm::scTruncate:  // arithmetic modulo a power of two: still at that distance
      return StrideOf(llvm::cast<llvm::SCEVCastExpr>(scev)->getOperand());
    case llvm::scPtrToInt:
      return StrideOf(llvm::cast<llvm::SCEVCastExpr>(scev)->getOperand());
    case llvm::scZeroExtend:
    case llvm::scSignExtend:
      return only_uniform(llvm::cast<llvm::SCEVCastExpr>(scev)->getOperand());
    case llvm::scUDivExpr: {
      const auto* division = llvm::cast<llvm::SCEVUDivExpr>(scev);
      return only_uniform({division->getLHS(), division->getRHS()});
    }
    case llvm::scUMaxExpr:
    case llvm::scSMaxExpr:
    case llvm::scUMinExpr:
    case llvm::scSMinExpr:
    case llvm::scSequentialUMinExpr:
      return only_uniform(llvm::cast<llvm::SCEVNAryExpr>(scev)->operands());
    default:
      return std::nullopt;
  }
}

// nullopt when scalar evolution knows no stride, or nothing of the instruction at all.
std::optional<LaneValue> LaneValues::KindByEvolution(llvm::Instruction& instruction) const {
  if (!evolution_.isSCEVable(instruction.getType())) return std::nullopt;
  const llvm::SCEV* scev = evolution_.getSCEV(&instruction);
  const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(scev);
  if (unknown && unknown->getValue() == &instruction) return std::nullopt;
  const std::optional<int64_t> stride = StrideOf(scev);
  if (!stride) return std::nullopt;
  return LaneValue{*stride == 0 ? LaneKind::kUniform : LaneKind::kAffine, *stride};
}

LaneValue LaneValues::KindOfPhi(llvm::PHINode& phi) const {
  constexpr LaneValue kVarying{LaneKind::kVarying, 0};
  const llvm::Loop* loop = loops_.getLoopFor(phi.getParent());
  const bool header = loop->getHeader() == phi.getParent();
  if (!header && IsLinear(loop) && phi.getNumIncomingValues() > 1) return kVarying;
  for (llvm::BasicBlock* from : phi.blocks()) {  // values that leave a loop in which lanes went round differently often
    for (const llvm::Loop* inner = loops_.getLoopFor(from); inner != loop && loop->contains(inner);
         inner = inner->getParentLoop()) {
      if (IsDivergent(inner)) return kVarying;
    }
  }
  bool uniform = true;
  for (llvm::Value* value : phi.incoming_values()) {
    if (Of(value).kind == LaneKind::kVarying) return kVarying;
    uniform &= Of(value).kind == LaneKind::kUniform;
  }
  if (const std::optional<LaneValue> kind = KindByEvolution(phi)) return *kind;
  return uniform ? LaneValue{} : kVarying;
}

LaneValue LaneValues::KindOf(llvm::Instruction& instruction) const {
  constexpr LaneValue kVarying{LaneKind::kVarying, 0};
  if (auto* phi = llvm::dyn_cast<llvm::PHINode>(&instruction)) {
    return phi->getParent() == lanes_.getHeader() ? Of(phi) : KindOfPhi(*phi);
  }
  if (const auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction)) {
    if (llvm::isa<llvm::AllocaInst>(load->getPointerOperand())) return kVarying;  // each lane has flags of its own
    return Of(load->getPointerOperand()).kind == LaneKind::kUniform ? LaneValue{} : kVarying;
  }
  if (IsFromLaneBefore(&instruction)) return kVarying;
  bool uniform = true, scalar = true;
  for (const llvm::Value* operand : instruction.operands()) {
    const LaneKind kind = Of(operand).kind;
    uniform &= kind == LaneKind::kUniform;
    scalar &= kind != LaneKind::kVarying;
  }
  if (uniform) return {};
  // Both sides move on alike: a row's place against the end of that row.
  const auto* compare = llvm::dyn_cast<llvm::ICmpInst>(&instruction);
  if (compare && compare->isEquality() && scalar && Of(compare->getOperand(0)).stride == Of(compare->getOperand(1)).stride)
    return {};
  if (!scalar || instruction.getType()->isIntegerTy(1)) return kVarying;
  return KindByEvolution(instruction).value_or(kVarying);
}

bool LaneValues::LeadToParent(const std::vector<llvm::BasicBlock*>& exits, const llvm::Loop& loop) const {
  return llvm::all_of(exits,
                      [&](const llvm::BasicBlock* exit) { return loops_.getLoopFor(exit) == loop.getParentLoop(); });
}

// Lanes leave `loop` at different times, or go different ways in it, and are counted out in the same manner.
bool LaneValues::MarkDivergent(llvm::Loop* loop, bool* changed) {
  if (!divergent_.insert(loop).second) return true;
  *changed = true;
  linear_.insert(loop);
  const std::vector<llvm::BasicBlock*> exits = ExitsInside(*loop, lanes_);
  if (!LeadToParent(exits, *loop)) return false;
  llvm::Loop* parent = loop->getParentLoop();
  if (exits.size() < 2) return true;
  if (parent != &lanes_) return MarkDivergent(parent, changed);
  linear_.insert(parent);
  return true;
}

// Branches that lanes take differently. Ways out of the lanes' loop do not count: the first lane that takes one ends
// the chunk.
bool LaneValues::FollowBranches(bool* changed) {
  for (llvm::BasicBlock* block : lanes_.blocks()) {
    llvm::Instruction* end = block->getTerminator();
    llvm::Loop* loop = loops_.getLoopFor(block);
    const auto* branch = llvm::dyn_cast<llvm::BranchInst>(end);
    if (!branch) return false;
    if (branch->isUnconditional() || !lanes_.contains(branch->getSuccessor(0)) ||
        !lanes_.contains(branch->getSuccessor(1)))
      continue;
    if (Of(branch->getCondition()).kind == LaneKind::kUniform) continue;
    if (loop == &lanes_) {
      *changed |= linear_.insert(loop).second;
    } else if (!MarkDivergent(loop, changed)) {
      return false;
    }
  }
  // Under masks a loop that all lanes pass together must have one place to go on from.
  for (llvm::Loop* loop : lanes_.getLoopsInPreorder()) {
    if (loop == &lanes_ || IsDivergent(loop) || !IsLinear(loop->getParentLoop())) continue;
    const std::vector<llvm::BasicBlock*> exits = ExitsInside(*loop, lanes_);
    if (!LeadToParent(exits, *loop)) return false;
    if (exits.size() > 1 && !MarkDivergent(loop, changed)) return false;
  }
  return true;
}

}  // namespace tracelift::jit

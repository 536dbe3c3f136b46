#include "jit/emit/lane_control.h"

#include <llvm/Analysis/LoopIterator.h>
#include <llvm/IR/CFG.h>

namespace tracelift::jit {
namespace {

// Places the builder where a block ends, and back again.
class AtEndOf {
 public:
  AtEndOf(llvm::IRBuilder<>& builder, llvm::BasicBlock* block) : guard_(builder) {
    if (llvm::Instruction* end = block->getTerminator()) {
      builder.SetInsertPoint(end);
    } else {
      builder.SetInsertPoint(block);
    }
  }

 private:
  llvm::IRBuilder<>::InsertPointGuard guard_;
};

// What only some lanes come by, and none may. Memory is mapped where some pass touches it: one more round of a loop
// than any lane makes would read behind it. And a long block costs more than to see that no lane is there.
bool NeedsALane(const llvm::BasicBlock& block) {
  constexpr size_t kShort = 8;
  return block.size() > kShort || llvm::any_of(block, [](const llvm::Instruction& instruction) {
           const llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction);
           return pointer && !llvm::isa<llvm::AllocaInst>(pointer);
         });
}

}  // namespace

// The loop's own blocks, and of each loop in it the header, each after all that lead to it.
std::vector<llvm::BasicBlock*> LaneControl::OwnOrder(llvm::Loop* loop) const {
  llvm::LoopBlocksRPO order(loop);
  order.perform(&loops_);
  std::vector<llvm::BasicBlock*> own;
  for (llvm::BasicBlock* block : order) {
    const llvm::Loop* in = loops_.getLoopFor(block);
    if (in == loop || (in->getParentLoop() == loop && in->getHeader() == block)) own.push_back(block);
  }
  return own;
}

llvm::BasicBlock* LaneControl::NewBlock(const llvm::Twine& name) {
  llvm::BasicBlock* here = builder_.GetInsertBlock();
  return llvm::BasicBlock::Create(here->getContext(), name + ".lanes", here->getParent());
}

llvm::Value* LaneControl::AllLanes() { return llvm::Constant::getAllOnesValue(code_.WideType(builder_.getInt1Ty())); }

// Lanes that are not in `mask` may have anything for a condition, also nothing at all.
llvm::Value* LaneControl::And(llvm::Value* mask, llvm::Value* condition) {
  return mask ? builder_.CreateLogicalAnd(mask, condition) : condition;
}

llvm::Value* LaneControl::Or(llvm::Value* a, llvm::Value* b) { return a && b ? builder_.CreateOr(a, b) : nullptr; }

void LaneControl::EmitIteration() {
  if (values_.IsLinear(&lanes_)) {
    EmitLinear(&lanes_, nullptr);
  } else {
    EmitAlike(&lanes_, nullptr, nullptr);
  }
}

void LaneControl::EmitBlock(llvm::BasicBlock* block, llvm::Value* mask) {
  for (llvm::Instruction& instruction : *block) {
    if (!llvm::isa<llvm::PHINode>(instruction) && !instruction.isTerminator()) code_.Emit(instruction, mask);
  }
}

// The first lane that leaves the lanes' loop ends the chunk.
void LaneControl::LeaveTo(llvm::BasicBlock* outside, llvm::Value* lanes) {
  llvm::BasicBlock* stay = NewBlock("stay");
  builder_.CreateCondBr(lanes ? code_.AnyOf(lanes) : builder_.getTrue(), outside, stay);
  builder_.SetInsertPoint(stay);
}

void LaneControl::AddPhis(llvm::BasicBlock* block) {
  for (llvm::PHINode& phi : block->phis()) {
    llvm::Type* type = code_.IsWide(&phi) ? code_.WideType(phi.getType()) : phi.getType();
    SetForm(&phi, builder_.CreatePHI(type, phi.getNumIncomingValues(), phi.getName()));
  }
}

// What the copies of the phis of `block` get when control comes from `from`, the copy of `original_from`.
void LaneControl::AddIncoming(llvm::BasicBlock* block, const llvm::BasicBlock* original_from, llvm::BasicBlock* from) {
  for (llvm::PHINode& phi : block->phis()) {
    const AtEndOf place(builder_, from);
    auto* copy = llvm::cast<llvm::PHINode>(FormOf(&phi, code_.IsWide(&phi)));
    copy->addIncoming(FormOf(phi.getIncomingValueForBlock(original_from), code_.IsWide(&phi)), from);
  }
}

// All lanes go the same way. `from` is the block that the header is entered from, null for the lanes' loop itself,
// whose header the builder is in.
void LaneControl::EmitAlike(llvm::Loop* loop, llvm::Value* mask, llvm::BasicBlock* from) {
  const std::vector<llvm::BasicBlock*> order = OwnOrder(loop);
  llvm::BasicBlock* header = loop->getHeader();
  if (!from) starts_[header] = builder_.GetInsertBlock();
  for (llvm::BasicBlock* block : order) {
    if (!starts_.contains(block)) starts_[block] = NewBlock(block->getName());
  }
  for (llvm::BasicBlock* block : order) {
    llvm::Loop* inner = loops_.getLoopFor(block);
    builder_.SetInsertPoint(starts_.at(block));
    if (inner != loop && values_.IsDivergent(inner)) {
      EmitDivergent(inner, mask);
      builder_.CreateBr(starts_.at(ExitsInside(*inner, lanes_).front()));
    } else if (inner != loop) {
      EmitAlike(inner, mask, ends_.at(inner->getLoopPreheader()));
    } else {
      if (block != header) {
        if (!joined_.contains(block)) AddPhis(block);
      } else if (from) {
        AddPhis(block);
        AddIncoming(block, loop->getLoopPreheader(), from);
      }
      EmitBlock(block, mask);
      EndBlockAlike(block, mask);
    }
  }
  for (llvm::BasicBlock* block : order) {
    if (loops_.getLoopFor(block) != loop || block == header || joined_.contains(block)) continue;
    for (llvm::BasicBlock* before : llvm::predecessors(block)) AddIncoming(block, before, ends_.at(before));
  }
  if (from) AddIncoming(header, loop->getLoopLatch(), ends_.at(loop->getLoopLatch()));
  builder_.SetInsertPoint(ends_.at(loop->getLoopLatch()));
}

void LaneControl::EndBlockAlike(llvm::BasicBlock* block, llvm::Value* mask) {
  auto* branch = llvm::cast<llvm::BranchInst>(block->getTerminator());
  const auto copy_of = [&](unsigned way) {
    llvm::BasicBlock* to = branch->getSuccessor(way);
    return lanes_.contains(to) ? starts_.at(to) : to;
  };
  ends_[block] = builder_.GetInsertBlock();
  if (block == lanes_.getLoopLatch()) return;
  if (branch->isUnconditional()) {
    builder_.CreateBr(copy_of(0));
    return;
  }
  if (!code_.IsWide(branch->getCondition())) {
    builder_.CreateCondBr(code_.Scalar(branch->getCondition()), copy_of(0), copy_of(1));
    return;
  }
  const unsigned leaving = lanes_.contains(branch->getSuccessor(0)) ? 1 : 0;
  llvm::Value* condition = code_.Wide(branch->getCondition());
  LeaveTo(branch->getSuccessor(leaving), And(mask, leaving == 0 ? condition : builder_.CreateNot(condition)));
  ends_[block] = builder_.GetInsertBlock();
  builder_.CreateBr(copy_of(1 - leaving));
}

// One block after another, each for the lanes that come by it.
void LaneControl::EmitLinear(llvm::Loop* loop, llvm::Value* mask) {
  for (llvm::BasicBlock* block : OwnOrder(loop)) {
    llvm::Loop* inner = loops_.getLoopFor(block);
    if (inner != loop) {
      EmitLoopUnderMask(inner);
      continue;
    }
    llvm::Value* here = mask;
    if (block != loop->getHeader()) {
      const std::set<const llvm::BasicBlock*> before(llvm::pred_begin(block), llvm::pred_end(block));
      here = edges_.at({*before.begin(), block});
      for (const llvm::BasicBlock* from : before) {
        llvm::Value* lanes = edges_.at({from, block});
        if (lanes != here) here = Or(here, lanes);
      }
      if (!joined_.contains(block)) BlendPhis(block);
    }
    if (here != mask && NeedsALane(*block)) {
      EmitBlockIfAny(block, here);
    } else {
      EmitBlock(block, here);
    }
    EndBlockLinear(block, here);
  }
}

// A block that is passed over when no lane comes by it.
void LaneControl::EmitBlockIfAny(llvm::BasicBlock* block, llvm::Value* mask) {
  llvm::BasicBlock *before = builder_.GetInsertBlock(), *run = NewBlock(block->getName()), *after = NewBlock("after");
  builder_.CreateCondBr(code_.AnyOf(mask), run, after);
  builder_.SetInsertPoint(run);
  EmitBlock(block, mask);
  llvm::BasicBlock* ran = builder_.GetInsertBlock();
  builder_.CreateBr(after);
  builder_.SetInsertPoint(after);
  for (llvm::Instruction& instruction : *block) {
    if (llvm::isa<llvm::PHINode>(instruction) || instruction.isTerminator() || instruction.getType()->isVoidTy())
      continue;
    const bool used = llvm::any_of(instruction.users(), [&](llvm::User* user) {
      const auto* by = llvm::cast<llvm::Instruction>(user);
      return by->getParent() != block || by->isTerminator() || llvm::isa<llvm::PHINode>(by);
    });
    if (!used) continue;
    const bool wide = code_.IsWide(&instruction);
    llvm::Value* value = FormOf(&instruction, wide);
    value = SkippedAs(value, llvm::PoisonValue::get(value->getType()), ran, before);
    wide ? code_.SetWide(&instruction, value) : code_.SetScalar(&instruction, value);
  }
}

void LaneControl::BlendPhis(llvm::BasicBlock* block) {
  for (llvm::PHINode& phi : block->phis()) {
    const bool wide = code_.IsWide(&phi);
    llvm::Value* value = FormOf(phi.getIncomingValue(0), wide);
    for (unsigned i = 1; i < phi.getNumIncomingValues(); ++i) {
      llvm::Value* lanes = edges_.at({phi.getIncomingBlock(i), block});
      llvm::Value* other = FormOf(phi.getIncomingValue(i), wide);
      value = lanes && wide ? builder_.CreateSelect(code_.MaskFor(lanes, phi.getType()), other, value) : other;
    }
    SetForm(&phi, value);
  }
}

void LaneControl::EndBlockLinear(llvm::BasicBlock* block, llvm::Value* mask) {
  if (block == lanes_.getLoopLatch()) return;
  auto* branch = llvm::cast<llvm::BranchInst>(block->getTerminator());
  const llvm::Loop* loop = loops_.getLoopFor(block);
  llvm::Value* condition = nullptr;
  if (branch->isConditional() && branch->getSuccessor(0) != branch->getSuccessor(1))
    condition = code_.Wide(branch->getCondition());
  for (unsigned way = 0; way < (condition ? 2U : 1U); ++way) {
    llvm::BasicBlock* to = branch->getSuccessor(way);
    llvm::Value* lanes = condition ? And(mask, way == 0 ? condition : builder_.CreateNot(condition)) : mask;
    if (!lanes_.contains(to)) {
      LeaveTo(to, lanes);
    } else if (!loop->contains(to)) {
      CollectLeaving(block, to, lanes);
    } else {
      edges_[{block, to}] = lanes;
    }
  }
}

void LaneControl::CollectLeaving(const llvm::BasicBlock* from, llvm::BasicBlock* to, llvm::Value* lanes) {
  Divergence& divergence = open_.at(loops_.getLoopFor(from));
  if (const auto left = divergence.lanes_left.find(to); left != divergence.lanes_left.end()) {
    left->second.latest = builder_.CreateOr(left->second.latest, lanes);
  }
  for (llvm::PHINode& phi : to->phis()) {
    Collected& collected = divergence.values.at(&phi);
    llvm::Value* taken = code_.Wide(phi.getIncomingValueForBlock(from));
    collected.latest = builder_.CreateSelect(code_.MaskFor(lanes, phi.getType()), taken, collected.latest);
  }
}

// Goes on while any lane is left. Those that left keep what they had then; what they compute afterwards is not looked
// at.
void LaneControl::EmitDivergent(llvm::Loop* loop, llvm::Value* mask) {
  llvm::BasicBlock* before = builder_.GetInsertBlock();
  llvm::BasicBlock* header = NewBlock(loop->getHeader()->getName());
  builder_.CreateBr(header);
  builder_.SetInsertPoint(header);
  llvm::Type* bits = code_.WideType(builder_.getInt1Ty());
  llvm::Value* entering = mask ? mask : AllLanes();
  llvm::PHINode* active = builder_.CreatePHI(bits, 2, "active");
  active->addIncoming(entering, before);
  AddPhis(loop->getHeader());
  AddIncoming(loop->getHeader(), loop->getLoopPreheader(), before);

  Divergence& divergence = open_[loop];
  const std::vector<llvm::BasicBlock*> exits = ExitsInside(*loop, lanes_);
  const auto collect = [&](llvm::Type* type, llvm::Value* start) {
    llvm::PHINode* phi = builder_.CreatePHI(type, 2, "left");
    phi->addIncoming(start, before);
    return Collected{phi, phi};
  };
  for (llvm::BasicBlock* exit : exits) {
    if (exits.size() > 1) divergence.lanes_left[exit] = collect(bits, llvm::Constant::getNullValue(bits));
    for (llvm::PHINode& phi : exit->phis()) {
      llvm::Type* type = code_.WideType(phi.getType());
      divergence.values[&phi] = collect(type, llvm::PoisonValue::get(type));
    }
  }
  EmitLinear(loop, active);
  llvm::BasicBlock* latch = builder_.GetInsertBlock();
  llvm::Value* staying = edges_.at({loop->getLoopLatch(), loop->getHeader()});
  AddIncoming(loop->getHeader(), loop->getLoopLatch(), latch);
  active->addIncoming(staying, latch);
  for (auto& [phi, collected] : divergence.values) {
    collected.phi->addIncoming(collected.latest, latch);
    code_.SetWide(phi, collected.latest);
  }
  for (auto& [exit, collected] : divergence.lanes_left) collected.phi->addIncoming(collected.latest, latch);
  llvm::BasicBlock* after = NewBlock("left");
  builder_.CreateCondBr(code_.AnyOf(staying), header, after);
  builder_.SetInsertPoint(after);
  for (llvm::BasicBlock* exit : exits) {
    llvm::Value* lanes = exits.size() > 1 ? divergence.lanes_left.at(exit).latest : mask;
    for (llvm::BasicBlock* from : llvm::predecessors(exit)) edges_[{from, exit}] = lanes;
    joined_.insert(exit);
  }
  open_.erase(loop);
}

llvm::Value* LaneControl::SkippedAs(llvm::Value* value, llvm::Value* skipped, llvm::BasicBlock* ran,
                                    llvm::BasicBlock* not_ran) {
  llvm::PHINode* phi = builder_.CreatePHI(value->getType(), 2);
  phi->addIncoming(value, ran);
  phi->addIncoming(skipped, not_ran);
  return phi;
}

// A loop between linear blocks: passed over when no lane comes by it.
void LaneControl::EmitLoopUnderMask(llvm::Loop* loop) {
  llvm::Value* mask = edges_.at({loop->getLoopPreheader(), loop->getHeader()});
  llvm::BasicBlock *before = builder_.GetInsertBlock(), *run = NewBlock("enter"), *after = NewBlock("after");
  builder_.CreateCondBr(mask ? code_.AnyOf(mask) : builder_.getTrue(), run, after);
  builder_.SetInsertPoint(run);
  const std::vector<llvm::BasicBlock*> exits = ExitsInside(*loop, lanes_);
  if (values_.IsDivergent(loop)) {
    EmitDivergent(loop, mask);
  } else {
    llvm::BasicBlock* exit = exits.front();
    starts_[loop->getHeader()] = NewBlock(loop->getHeader()->getName());
    llvm::BasicBlock* landing = starts_[exit] = NewBlock("landing");
    builder_.CreateBr(starts_.at(loop->getHeader()));
    EmitAlike(loop, mask, run);
    builder_.SetInsertPoint(landing);
    AddPhis(exit);
    for (llvm::BasicBlock* from : llvm::predecessors(exit)) {
      AddIncoming(exit, from, ends_.at(from));
      edges_[{from, exit}] = mask;
    }
    joined_.insert(exit);
  }
  llvm::BasicBlock* ran = builder_.GetInsertBlock();
  builder_.CreateBr(after);
  builder_.SetInsertPoint(after);
  for (llvm::BasicBlock* exit : exits) {
    for (llvm::PHINode& phi : exit->phis()) {
      llvm::Value* value = FormOf(&phi, code_.IsWide(&phi));
      SetForm(&phi, SkippedAs(value, llvm::PoisonValue::get(value->getType()), ran, before));
    }
    llvm::Value* lanes = edges_.at({*llvm::pred_begin(exit), exit});
    if (!lanes || lanes == mask) continue;
    llvm::Value* merged = SkippedAs(lanes, llvm::Constant::getNullValue(lanes->getType()), ran, before);
    for (llvm::BasicBlock* from : llvm::predecessors(exit)) edges_[{from, exit}] = merged;
  }
}

}  // namespace tracelift::jit

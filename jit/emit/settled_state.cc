#include "jit/emit/settled_state.h"

#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <map>
#include <set>

#include "jit/artifact.h"
#include "jit/emit/entry_facts.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kResult };

llvm::Type* TypeOf(Reduction reduction, llvm::LLVMContext& context) {
  if (!IsFloat(reduction.kind)) return llvm::IntegerType::get(context, reduction.bits);
  return reduction.bits == 32 ? llvm::Type::getFloatTy(context) : llvm::Type::getDoubleTy(context);
}

// The low bits of an integer that count, a float as it is.
llvm::Value* Narrowed(llvm::Value* value, llvm::Type* type, llvm::IRBuilder<>& builder) {
  return type->isIntegerTy() ? builder.CreateTrunc(value, type) : value;
}

llvm::Constant* NeutralIn(Reduction reduction, llvm::Type* type) {
  const uint64_t bits = NeutralValue(reduction);
  if (type->isIntegerTy()) return llvm::ConstantInt::get(type, bits);
  return llvm::ConstantFP::get(type, llvm::APFloat(type->getFltSemantics(), llvm::APInt(reduction.bits, bits)));
}

// As ChunkResult::partial has them.
llvm::Value* FromPartial(llvm::Value* partial, llvm::Type* type, llvm::IRBuilder<>& builder) {
  const unsigned bits = static_cast<unsigned>(type->getPrimitiveSizeInBits());
  return builder.CreateBitCast(builder.CreateTrunc(partial, builder.getIntNTy(bits)), type);
}
llvm::Value* ToPartial(llvm::Value* value, llvm::IRBuilder<>& builder) {
  const unsigned bits = static_cast<unsigned>(value->getType()->getPrimitiveSizeInBits());
  return builder.CreateZExt(builder.CreateBitCast(value, builder.getIntNTy(bits)), builder.getInt64Ty());
}

// Further operations of a reduction of floats may be reordered as the first ones.
llvm::Value* Relaxed(llvm::Value* value) {
  if (auto* operation = llvm::dyn_cast<llvm::Instruction>(value)) {
    operation->setHasAllowReassoc(true);
    operation->setHasNoSignedZeros(true);
    operation->setHasAllowContract(true);
  }
  return value;
}

llvm::Value* Operation(Reduction reduction, llvm::Value* a, llvm::Value* b, llvm::IRBuilder<>& builder) {
  switch (reduction.kind) {
    case ReductionKind::kAdd: return builder.CreateAdd(a, b);
    case ReductionKind::kAnd: return builder.CreateAnd(a, b);
    case ReductionKind::kOr: return builder.CreateOr(a, b);
    case ReductionKind::kXor: return builder.CreateXor(a, b);
    case ReductionKind::kSMin: return builder.CreateBinaryIntrinsic(llvm::Intrinsic::smin, a, b);
    case ReductionKind::kSMax: return builder.CreateBinaryIntrinsic(llvm::Intrinsic::smax, a, b);
    case ReductionKind::kUMin: return builder.CreateBinaryIntrinsic(llvm::Intrinsic::umin, a, b);
    case ReductionKind::kUMax: return builder.CreateBinaryIntrinsic(llvm::Intrinsic::umax, a, b);
    case ReductionKind::kFAdd: return Relaxed(builder.CreateFAdd(a, b));
    case ReductionKind::kFMul: return Relaxed(builder.CreateFMul(a, b));
  }
  return nullptr;
}

llvm::Value* PartialOf(llvm::Function& function, size_t reduction, llvm::IRBuilder<>& builder) {
  const uint64_t offset = offsetof(ChunkResult, partial) + reduction * sizeof(uint64_t);
  return builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), function.getArg(kResult), offset);
}

// A phi of one value, behind a loop.
llvm::Value* BehindLoop(llvm::Value* value) {
  auto* phi = llvm::dyn_cast<llvm::PHINode>(value);
  return phi && phi->getNumIncomingValues() == 1 ? phi->getIncomingValue(0) : nullptr;
}

class EndOfReductions {
 public:
  EndOfReductions(llvm::Function& function, const LoopShape& shape)
      : function_(function), shape_(shape), dominators_(function) {}

  bool DependOnThem(llvm::Value* value) {
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (!instruction) return false;
    if (shape_.loop->contains(instruction->getParent())) {
      return llvm::any_of(shape_.reductions, [&](const ReductionWeb& web) { return web.reached.contains(value); });
    }
    if (dominators_.dominates(instruction, Ahead())) return false;
    const auto [known, is_new] = depends_.try_emplace(value, false);
    if (is_new) {
      const bool depends = llvm::any_of(instruction->operands(), [&](llvm::Value* operand) { return DependOnThem(operand); });
      depends_[value] = depends;
    }
    return depends_[value];
  }

  bool CanCompute(llvm::Value* value) {
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (!instruction || dominators_.dominates(instruction, Ahead())) return true;
    if (WebAtEnd(value)) return true;
    if (llvm::Value* same = BehindLoop(value)) return CanCompute(same);
    if (llvm::isa<llvm::PHINode>(instruction) || instruction->mayReadOrWriteMemory()) return false;
    if (!llvm::isSafeToSpeculativelyExecute(instruction)) return false;
    return llvm::all_of(instruction->operands(), [&](llvm::Value* operand) { return CanCompute(operand); });
  }

  llvm::Value* Compute(llvm::Value* value, llvm::IRBuilder<>& builder) {
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (!instruction || dominators_.dominates(instruction, Ahead())) return value;
    if (const auto known = computed_.find(value); known != computed_.end()) return known->second;
    llvm::Value* result = nullptr;
    if (const ReductionWeb* web = WebAtEnd(value)) {
      result = Extended(*web, value, builder);
    } else if (llvm::Value* same = BehindLoop(value)) {
      result = Compute(same, builder);
    } else {
      llvm::Instruction* copy = instruction->clone();
      copy->dropPoisonGeneratingFlags();  // found with the value at entry in mind, and in the place where it was
      for (llvm::Use& operand : copy->operands()) operand.set(Compute(operand.get(), builder));
      result = builder.Insert(copy);
    }
    return computed_[value] = result;
  }

 private:
  llvm::Instruction* Ahead() const { return shape_.loop->getLoopPreheader()->getTerminator(); }

  // The reduction that `value` tells the end of.
  const ReductionWeb* WebAtEnd(const llvm::Value* value) const {
    for (const ReductionWeb& web : shape_.reductions) {
      const auto form = web.forms.find(value);
      if (form == web.forms.end() || form->second == WebForm::kLowBitsOnly) continue;
      if (IsEndOfPass(web, value, shape_.loop)) return &web;
    }
    return nullptr;
  }

  // What the reduction comes to, in the width that `value` has it.
  llvm::Value* Extended(const ReductionWeb& web, const llvm::Value* value, llvm::IRBuilder<>& builder) {
    llvm::Type* type = TypeOf(web.reduction, builder.getContext());
    const auto index = static_cast<size_t>(&web - shape_.reductions.data());
    llvm::Value* partial = builder.CreateLoad(builder.getInt64Ty(), PartialOf(function_, index, builder));
    llvm::Value* start = web.phi->getIncomingValueForBlock(shape_.loop->getLoopPreheader());
    llvm::Value* end = Operation(web.reduction, Narrowed(start, type, builder), FromPartial(partial, type, builder), builder);
    if (IsFloat(web.reduction.kind)) return end;
    const bool is_signed = web.forms.at(value) == WebForm::kSignExtended;
    return is_signed ? builder.CreateSExt(end, value->getType()) : builder.CreateZExt(end, value->getType());
  }

  llvm::Function& function_;
  const LoopShape& shape_;
  const llvm::DominatorTree dominators_;
  std::map<llvm::Value*, bool> depends_;
  std::map<llvm::Value*, llvm::Value*> computed_;
};

// The accumulator alone, beside the web: in its own width, from the neutral value.
class Accumulator {
 public:
  Accumulator(const ReductionWeb& web, const llvm::Loop* loop)
      : web_(web), loop_(loop), type_(TypeOf(web.reduction, web.phi->getContext())) {}

  llvm::Value* Make() {
    for (const WebStep& step : web_.steps) {
      steps_[step.value] = &step;
      if (auto* phi = llvm::dyn_cast<llvm::PHINode>(step.value)) own_[phi] = OwnPhi(phi);
    }
    auto* first = OwnPhi(web_.phi);
    own_[web_.phi] = first;
    for (const WebStep& step : web_.steps) {
      auto* phi = llvm::dyn_cast<llvm::PHINode>(step.value);
      for (unsigned i = 0; phi && i < phi->getNumIncomingValues(); ++i) {
        llvm::cast<llvm::PHINode>(own_.at(phi))->addIncoming(Own(phi->getIncomingValue(i)), phi->getIncomingBlock(i));
      }
    }
    llvm::Value* next = Own(web_.phi->getIncomingValueForBlock(loop_->getLoopLatch()));
    first->addIncoming(NeutralIn(web_.reduction, type_), loop_->getLoopPreheader());
    first->addIncoming(next, loop_->getLoopLatch());
    return next;
  }

 private:
  llvm::PHINode* OwnPhi(llvm::PHINode* phi) const {
    return llvm::PHINode::Create(type_, phi->getNumIncomingValues(), phi->getName() + ".part", phi->getIterator());
  }

  llvm::Value* Own(llvm::Value* value) {
    if (const auto known = own_.find(value); known != own_.end()) return known->second;
    const WebStep& step = *steps_.at(value);
    llvm::IRBuilder<> builder(step.value);
    llvm::Value* made = nullptr;
    if (step.with) {
      llvm::Value* from = Own(step.from);
      llvm::Value* with = Narrowed(step.with, type_, builder);
      made = !step.subtracts              ? Operation(web_.reduction, from, with, builder)
             : IsFloat(web_.reduction.kind) ? Relaxed(builder.CreateFSub(from, with))
                                            : builder.CreateSub(from, with);
    } else if (step.from) {
      made = Own(step.from);
    } else {
      auto* select = llvm::cast<llvm::SelectInst>(step.value);
      llvm::Value* if_true = Own(select->getTrueValue());
      made = builder.CreateSelect(select->getCondition(), if_true, Own(select->getFalseValue()));
    }
    return own_[value] = made;
  }

  const ReductionWeb& web_;
  const llvm::Loop* loop_;
  llvm::Type* type_;
  std::map<const llvm::Value*, const WebStep*> steps_;
  std::map<const llvm::Value*, llvm::Value*> own_;
};

}  // namespace

std::vector<llvm::StoreInst*> StoresOfReductions(llvm::Function& function, const LoopShape& shape) {
  std::vector<llvm::StoreInst*> stores;
  if (shape.reductions.empty()) return stores;
  EndOfReductions end(function, shape);
  for (llvm::BasicBlock& block : function) {
    for (llvm::Instruction& instruction : block) {
      auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
      if (store && !shape.loop->contains(&block) && end.DependOnThem(store->getValueOperand())) stores.push_back(store);
    }
  }
  return stores;
}

bool CanSettleReductions(llvm::Function& function, const LoopShape& shape) {
  const std::vector<llvm::StoreInst*> stores = StoresOfReductions(function, shape);
  EndOfReductions end(function, shape);
  return llvm::all_of(stores, [&](llvm::StoreInst* store) {
    const bool to_state = store->getPointerOperand()->stripInBoundsOffsets() == function.getArg(kOut);
    return to_state && end.CanCompute(store->getValueOperand());
  });
}

void SettleReductions(llvm::Function& function, const LoopShape& shape, const std::vector<llvm::StoreInst*>& stores,
                      llvm::Instruction* where) {
  const llvm::DataLayout& layout = function.getParent()->getDataLayout();
  EndOfReductions end(function, shape);
  llvm::IRBuilder<> builder(where);
  for (llvm::StoreInst* store : stores) {
    llvm::APInt offset(64, 0);
    store->getPointerOperand()->stripAndAccumulateConstantOffsets(layout, offset, /*AllowNonInbounds=*/true);
    llvm::Value* to = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), function.getArg(kOut), offset.getZExtValue());
    builder.CreateAlignedStore(end.Compute(store->getValueOperand(), builder), to, llvm::Align(1));
  }
  for (llvm::StoreInst* store : stores) store->eraseFromParent();
}

void ReduceByChunk(llvm::Function& function, const LoopShape& shape, llvm::Instruction* where) {
  llvm::BasicBlock* preheader = shape.loop->getLoopPreheader();
  for (size_t i = 0; i < shape.reductions.size(); ++i) {
    const ReductionWeb& web = shape.reductions[i];
    llvm::Value* made = Accumulator(web, shape.loop).Make();
    llvm::IRBuilder<> builder(where);
    llvm::Value* place = PartialOf(function, i, builder);
    llvm::Value* before = FromPartial(builder.CreateLoad(builder.getInt64Ty(), place), made->getType(), builder);
    builder.CreateStore(ToPartial(Operation(web.reduction, before, made, builder), builder), place);
    builder.SetInsertPoint(preheader->getTerminator());
    for (llvm::Value* bit : web.sign_bits) {
      const unsigned bits = bit->getType()->getIntegerBitWidth();
      llvm::Value* sign = llvm::ConstantInt::get(bit->getType(), llvm::APInt::getSignMask(bits));
      RelyOn(builder.CreateICmpEQ(bit, sign), preheader->getTerminator());
    }
    const WebForm form = web.forms.at(web.phi);
    if (form == WebForm::kSame) continue;
    llvm::Value* start = web.phi->getIncomingValueForBlock(preheader);
    llvm::Value* low = builder.CreateTrunc(start, made->getType());
    const bool is_signed = form == WebForm::kSignExtended;
    llvm::Value* whole = is_signed ? builder.CreateSExt(low, start->getType()) : builder.CreateZExt(low, start->getType());
    RelyOn(builder.CreateICmpEQ(start, whole), preheader->getTerminator());
  }
}

}  // namespace tracelift::jit

#include "jit/emit/lane_code.h"

#include <llvm/Analysis/VectorUtils.h>
#include <llvm/IR/Module.h>

#include <numeric>

#include "jit/emit/handed_reads.h"
#include "jit/lift/float_calls.h"

namespace tracelift::jit {
namespace {

unsigned ElementsOf(llvm::Type* type) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
  return vector ? vector->getNumElements() : 1;
}

bool IsDivision(const llvm::Instruction& instruction) { return instruction.isIntDivRem(); }

// What vectors are made of; odd widths come from flags and 128-bit products, and would be split into pieces.
bool HasWideType(llvm::Type* type) {
  llvm::Type* element = type->getScalarType();
  if (element->isIntegerTy()) {
    const unsigned bits = element->getIntegerBitWidth();
    return bits == 1 || bits == 8 || bits == 16 || bits == 32 || bits == 64;
  }
  return element->isFloatTy() || element->isDoubleTy() || (type->isPointerTy() && !type->isVectorTy());
}

// Else single accesses come out in the end, but with their addresses taken out of vectors.
bool HasScatters(const llvm::Instruction& instruction) {
  return instruction.getFunction()->getFnAttribute("target-features").getValueAsString().contains("+avx512f");
}

}  // namespace

llvm::FixedVectorType* LaneCode::WideType(llvm::Type* type) const {
  return llvm::FixedVectorType::get(type->getScalarType(), count_ * ElementsOf(type));
}

bool LaneCode::CanEmit() const {
  for (llvm::BasicBlock* block : lanes_.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      if (!CanEmit(instruction)) return false;
    }
  }
  return true;
}

std::optional<int64_t> LaneCode::StrideOf(llvm::Value* pointer) const {
  const LaneValue value = values_.Of(pointer);
  if (value.kind == LaneKind::kVarying) return std::nullopt;
  return value.stride;
}

bool LaneCode::CanEmit(llvm::Instruction& instruction) const {
  if (instruction.isTerminator()) return llvm::isa<llvm::BranchInst>(instruction);
  if (auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction)) {
    if (store->isVolatile()) return false;
    if (llvm::isa<llvm::AllocaInst>(store->getPointerOperand()))
      return store->getValueOperand()->getType()->isIntegerTy(1);
    return HasWideType(store->getValueOperand()->getType()) && StrideOf(store->getPointerOperand()) != 0;
  }
  if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction)) {
    if (load->isVolatile() ||
        (llvm::isa<llvm::AllocaInst>(load->getPointerOperand()) && !load->getType()->isIntegerTy(1)))
      return false;
    return !IsWide(load) || HasWideType(load->getType());
  }
  if (auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction)) {
    if (IsFromLaneBefore(call)) return HasWideType(call->getType());
    if (IsFloatCall(call)) return !IsWide(call) || HasVectorForm(*call);
    const auto* intrinsic = llvm::dyn_cast<llvm::IntrinsicInst>(call);
    if (!intrinsic || intrinsic->mayReadOrWriteMemory()) return false;
    return !IsWide(call) ||
           (llvm::isTriviallyVectorizable(intrinsic->getIntrinsicID()) && HasWideType(call->getType()));
  }
  if (instruction.mayReadOrWriteMemory() || llvm::isa<llvm::AllocaInst>(instruction)) return false;
  if (!IsWide(&instruction)) return true;
  const auto is_constant = [&](unsigned operand) {
    return llvm::isa<llvm::ConstantInt>(instruction.getOperand(operand));
  };
  if (llvm::isa<llvm::ExtractElementInst>(instruction) && !is_constant(1)) return false;
  if (llvm::isa<llvm::InsertElementInst>(instruction) && !is_constant(2)) return false;
  if (const auto* address = llvm::dyn_cast<llvm::GetElementPtrInst>(&instruction)) {
    if (address->getNumIndices() != 1 || !address->getSourceElementType()->isIntegerTy(8)) return false;
  }
  for (const llvm::Value* operand : instruction.operands()) {
    if (!operand->getType()->isLabelTy() && !HasWideType(operand->getType())) return false;
  }
  return HasWideType(instruction.getType());
}

llvm::Value* LaneCode::Scalar(llvm::Value* value) const {
  const auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
  return instruction && lanes_.contains(instruction) ? scalars_.at(value) : value;
}

llvm::Value* LaneCode::Wide(llvm::Value* value) {
  const LaneValue kind = values_.Of(value);
  if (kind.kind == LaneKind::kVarying) return wides_.at(value);
  llvm::Type* type = value->getType();
  llvm::Value* scalar = Scalar(value);
  if (type->isVectorTy()) {
    llvm::SmallVector<int, 64> repeated(count_ * ElementsOf(type));
    for (size_t i = 0; i < repeated.size(); ++i) repeated[i] = static_cast<int>(i % ElementsOf(type));
    return builder_.CreateShuffleVector(scalar, repeated);
  }
  if (kind.kind == LaneKind::kUniform) return builder_.CreateVectorSplat(count_, scalar);
  llvm::Type* number = type->isPointerTy() ? builder_.getInt64Ty() : type;
  llvm::SmallVector<llvm::Constant*, 32> offsets;
  for (unsigned lane = 0; lane < count_; ++lane) {
    offsets.push_back(llvm::ConstantInt::get(number, static_cast<uint64_t>(kind.stride) * lane, /*IsSigned=*/false));
  }
  llvm::Constant* distance = llvm::ConstantVector::get(offsets);
  if (type->isPointerTy()) return builder_.CreateGEP(builder_.getInt8Ty(), scalar, distance);
  return builder_.CreateAdd(builder_.CreateVectorSplat(count_, scalar), distance);
}

llvm::Value* LaneCode::MaskFor(llvm::Value* mask, llvm::Type* type) {
  const unsigned elements = ElementsOf(type);
  if (elements == 1) return mask;
  llvm::SmallVector<int, 64> repeated(count_ * elements);
  for (size_t i = 0; i < repeated.size(); ++i) repeated[i] = static_cast<int>(i / elements);
  return builder_.CreateShuffleVector(mask, repeated);
}

// Lanes that are not there must not divide by what they have.
llvm::Value* LaneCode::Divisor(llvm::Instruction& instruction, llvm::Value* mask, bool wide) {
  llvm::Value* divisor = instruction.getOperand(1);
  llvm::Value* form = wide ? Wide(divisor) : Scalar(divisor);
  if (!mask || llvm::isa<llvm::Constant>(divisor)) return form;
  llvm::Value* there = wide ? MaskFor(mask, instruction.getType()) : AnyOf(mask);
  return builder_.CreateSelect(there, form, llvm::ConstantInt::get(form->getType(), 1));
}

// What is known of the memory an instruction touches holds for its copies.
void LaneCode::KeepScopes(const llvm::Instruction& from, llvm::Value* to) {
  auto* copy = llvm::dyn_cast<llvm::Instruction>(to);
  if (!copy) return;
  copy->copyMetadata(from, {llvm::LLVMContext::MD_alias_scope, llvm::LLVMContext::MD_noalias});
}

void LaneCode::Emit(llvm::Instruction& instruction, llvm::Value* mask) {
  if (auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction)) {
    EmitStore(*store, mask);
  } else if (IsWide(&instruction)) {
    wides_[&instruction] = EmitWide(instruction, mask);
  } else {
    llvm::Instruction* copy = instruction.clone();
    for (llvm::Use& use : copy->operands()) use.set(Scalar(use.get()));
    if (IsDivision(instruction)) copy->setOperand(1, Divisor(instruction, mask, false));
    copy->dropPoisonGeneratingFlags();  // also computed where lane 0 is not there
    copy->dropUnknownNonDebugMetadata({llvm::LLVMContext::MD_alias_scope, llvm::LLVMContext::MD_noalias});
    scalars_[&instruction] = builder_.Insert(copy);
  }
}

llvm::Value* LaneCode::EmitWide(llvm::Instruction& instruction, llvm::Value* mask) {
  const llvm::IRBuilder<>::FastMathFlagGuard guard(builder_);
  if (llvm::isa<llvm::FPMathOperator>(instruction)) builder_.setFastMathFlags(instruction.getFastMathFlags());
  if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction)) return EmitLoad(*load, mask);
  if (auto* call = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction)) return EmitCall(*call);
  if (IsFromLaneBefore(&instruction)) return EmitFromLaneBefore(llvm::cast<llvm::CallInst>(instruction));
  if (auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction)) return EmitFloatCall(*call);
  const auto operand = [&](unsigned i) { return Wide(instruction.getOperand(i)); };
  if (auto* binary = llvm::dyn_cast<llvm::BinaryOperator>(&instruction)) {
    llvm::Value* left = operand(0);
    return builder_.CreateBinOp(binary->getOpcode(), left,
                                IsDivision(instruction) ? Divisor(instruction, mask, true) : operand(1));
  }
  if (auto* unary = llvm::dyn_cast<llvm::UnaryOperator>(&instruction))
    return builder_.CreateUnOp(unary->getOpcode(), operand(0));
  if (auto* cast = llvm::dyn_cast<llvm::CastInst>(&instruction)) {
    return builder_.CreateCast(cast->getOpcode(), operand(0), WideType(cast->getType()));
  }
  if (auto* compare = llvm::dyn_cast<llvm::CmpInst>(&instruction)) {
    llvm::Value* left = operand(0);
    return builder_.CreateCmp(compare->getPredicate(), left, operand(1));
  }
  if (auto* select = llvm::dyn_cast<llvm::SelectInst>(&instruction)) {
    llvm::Value* condition = select->getCondition();
    const bool one = values_.Of(condition).kind == LaneKind::kUniform && !condition->getType()->isVectorTy();
    llvm::Value* choice = one                                  ? Scalar(condition)
                          : condition->getType()->isVectorTy() ? Wide(condition)
                                                               : MaskFor(Wide(condition), select->getType());
    llvm::Value* yes = operand(1);
    return builder_.CreateSelect(choice, yes, operand(2));
  }
  if (auto* address = llvm::dyn_cast<llvm::GetElementPtrInst>(&instruction)) {
    llvm::Value* base = IsWide(address->getPointerOperand()) ? operand(0) : Scalar(address->getPointerOperand());
    if (values_.Of(address->getPointerOperand()).kind == LaneKind::kAffine) base = operand(0);
    return builder_.CreateGEP(builder_.getInt8Ty(), base, operand(1));
  }
  if (llvm::isa<llvm::FreezeInst>(instruction)) return builder_.CreateFreeze(operand(0));
  return EmitShuffle(instruction);
}

llvm::Value* LaneCode::EmitShuffle(llvm::Instruction& instruction) {
  llvm::SmallVector<int, 128> order;
  if (auto* extract = llvm::dyn_cast<llvm::ExtractElementInst>(&instruction)) {
    const unsigned elements = ElementsOf(extract->getVectorOperandType());
    const auto index = static_cast<unsigned>(llvm::cast<llvm::ConstantInt>(extract->getIndexOperand())->getZExtValue());
    for (unsigned lane = 0; lane < count_; ++lane) order.push_back(static_cast<int>(lane * elements + index));
    return builder_.CreateShuffleVector(Wide(extract->getVectorOperand()), order);
  }
  if (auto* insert = llvm::dyn_cast<llvm::InsertElementInst>(&instruction)) {
    const unsigned elements = ElementsOf(insert->getType());
    const auto index = static_cast<unsigned>(llvm::cast<llvm::ConstantInt>(insert->getOperand(2))->getZExtValue());
    llvm::SmallVector<llvm::Constant*, 128> inserted;
    for (unsigned i = 0; i < count_ * elements; ++i) {
      order.push_back(static_cast<int>(i / elements));
      inserted.push_back(builder_.getInt1(i % elements == index));
    }
    llvm::Value* repeated = builder_.CreateShuffleVector(Wide(insert->getOperand(1)), order);
    return builder_.CreateSelect(llvm::ConstantVector::get(inserted), repeated, Wide(insert->getOperand(0)));
  }
  auto& shuffle = llvm::cast<llvm::ShuffleVectorInst>(instruction);
  const auto from = static_cast<int>(ElementsOf(shuffle.getOperand(0)->getType()));
  for (int lane = 0; lane < static_cast<int>(count_); ++lane) {
    for (int element : shuffle.getShuffleMask()) {
      order.push_back(element < 0      ? -1
                      : element < from ? lane * from + element
                                       : (static_cast<int>(count_) + lane) * from + element - from);
    }
  }
  llvm::Value* first = Wide(shuffle.getOperand(0));
  return builder_.CreateShuffleVector(first, Wide(shuffle.getOperand(1)), order);
}

llvm::Value* LaneCode::EmitCall(llvm::IntrinsicInst& call) {
  const llvm::Intrinsic::ID id = call.getIntrinsicID();
  llvm::SmallVector<llvm::Type*, 4> overloads;
  llvm::SmallVector<llvm::Value*, 4> arguments;
  if (llvm::isVectorIntrinsicWithOverloadTypeAtArg(id, -1)) overloads.push_back(WideType(call.getType()));
  for (unsigned i = 0; i < call.arg_size(); ++i) {
    llvm::Value* argument = call.getArgOperand(i);
    arguments.push_back(llvm::isVectorIntrinsicWithScalarOpAtArg(id, i) ? Scalar(argument) : Wide(argument));
    if (llvm::isVectorIntrinsicWithOverloadTypeAtArg(id, static_cast<int>(i)))
      overloads.push_back(arguments.back()->getType());
  }
  return builder_.CreateCall(llvm::Intrinsic::getDeclaration(call.getModule(), id, overloads), arguments);
}

llvm::Value* LaneCode::EmitFloatCall(llvm::CallInst& call) {
  llvm::SmallVector<llvm::Value*, 3> arguments;
  for (llvm::Value* argument : call.args()) arguments.push_back(Wide(argument));
  return CreateVectorCall(builder_, call, arguments, static_cast<int>(count_));
}

// All lanes are there (jit/emit/stagger_passes.h).
llvm::Value* LaneCode::EmitFromLaneBefore(llvm::CallInst& call) {
  llvm::Type* type = call.getType();
  llvm::Value* before = Wide(call.getArgOperand(0));
  llvm::LoadInst* first = builder_.CreateAlignedLoad(type, PointerOf(call.getArgOperand(1), 0), llvm::Align(1));
  KeepScopes(call, first);
  const unsigned elements = ElementsOf(type), all = count_ * elements;
  llvm::SmallVector<int, 64> order;
  if (type->isVectorTy()) {
    llvm::SmallVector<int, 64> spread(all, -1);
    std::iota(spread.begin(), spread.begin() + elements, 0);
    for (unsigned i = 0; i < all; ++i) order.push_back(static_cast<int>(i < elements ? all + i : i - elements));
    return builder_.CreateShuffleVector(before, builder_.CreateShuffleVector(first, spread), order);
  }
  for (unsigned lane = 0; lane < count_; ++lane) order.push_back(lane == 0 ? 0 : static_cast<int>(lane) - 1);
  return builder_.CreateInsertElement(builder_.CreateShuffleVector(before, order), first, uint64_t{0});
}

llvm::Value* LaneCode::LaneOf(llvm::Value* wide, unsigned lane, llvm::Type* type) {
  if (!type->isVectorTy()) return builder_.CreateExtractElement(wide, lane);
  llvm::SmallVector<int, 16> part(ElementsOf(type));
  std::iota(part.begin(), part.end(), static_cast<int>(lane * ElementsOf(type)));
  return builder_.CreateShuffleVector(wide, part);
}

llvm::Value* LaneCode::Reversed(llvm::Value* wide, llvm::Type* type) {
  const unsigned elements = ElementsOf(type);
  llvm::SmallVector<int, 64> order;
  for (unsigned i = 0; i < count_ * elements; ++i) {
    order.push_back(static_cast<int>((count_ - 1 - i / elements) * elements + i % elements));
  }
  return builder_.CreateShuffleVector(wide, order);
}

llvm::Value* LaneCode::PointerOf(llvm::Value* pointer, unsigned lane) {
  if (IsWide(pointer)) {
    // What is different in each lane is often the same all along an inner loop, and taken out of its vector ahead of it.
    auto* address = llvm::dyn_cast<llvm::GetElementPtrInst>(pointer);
    llvm::Value* by = address && address->getNumIndices() == 1 ? address->getOperand(1) : nullptr;
    if (!by || !IsWide(address->getPointerOperand()) || IsWide(by) || !address->getSourceElementType()->isIntegerTy(8))
      return builder_.CreateExtractElement(Wide(pointer), lane);
    llvm::Value* base = builder_.CreateExtractElement(Wide(address->getPointerOperand()), lane);
    const auto offset = static_cast<uint64_t>(values_.Of(by).stride) * lane;
    return builder_.CreateGEP(builder_.getInt8Ty(), base, builder_.CreateAdd(Scalar(by), builder_.getInt64(offset)));
  }
  const auto offset = static_cast<uint64_t>(values_.Of(pointer).stride) * lane;
  return builder_.CreateGEP(builder_.getInt8Ty(), Scalar(pointer), builder_.getInt64(offset));
}

// For a lane that is not there, memory of our own.
llvm::Value* LaneCode::ReadablePointerOf(llvm::LoadInst& load, unsigned lane, llvm::Value* mask) {
  llvm::Value* pointer = PointerOf(load.getPointerOperand(), lane);
  if (!mask) return pointer;
  llvm::IRBuilder<> top(&load.getFunction()->getEntryBlock(), load.getFunction()->getEntryBlock().begin());
  llvm::Value* own = top.CreateAlloca(load.getType(), nullptr, "absent");
  return builder_.CreateSelect(builder_.CreateExtractElement(mask, lane), pointer, own);
}

llvm::Value* LaneCode::EmitLoad(llvm::LoadInst& load, llvm::Value* mask) {
  if (reads_ == Reads::kOfAllLanes) mask = nullptr;
  llvm::Value* pointer = load.getPointerOperand();
  llvm::Type* type = load.getType();
  if (const auto flag = flags_.find(pointer); flag != flags_.end())
    return builder_.CreateLoad(WideType(type), flag->second);
  const llvm::DataLayout& layout = load.getModule()->getDataLayout();
  const auto bytes = static_cast<int64_t>(layout.getTypeStoreSize(type));
  const std::optional<int64_t> stride = StrideOf(pointer);
  const auto kept = [&](llvm::Instruction* copy) {
    KeepScopes(load, copy);
    return copy;
  };
  const auto in_a_row = [&](llvm::Value* from, llvm::Value* there) {
    if (!mask) return kept(builder_.CreateAlignedLoad(WideType(type), from, llvm::Align(1)));
    return kept(builder_.CreateMaskedLoad(WideType(type), from, llvm::Align(1), there));
  };
  llvm::Value* there = mask ? MaskFor(mask, type) : nullptr;
  if (stride == bytes) return in_a_row(Scalar(pointer), there);
  if (stride == -bytes) {
    if (mask) there = Reversed(there, type);
    return Reversed(in_a_row(PointerOf(pointer, count_ - 1), there), type);
  }
  const bool is_gather = mask || reads_ == Reads::kOfAllLanes || HasScatters(load);
  if (!type->isVectorTy() && type->getPrimitiveSizeInBits() >= 32 && is_gather) {
    return kept(builder_.CreateMaskedGather(WideType(type), Wide(pointer), llvm::Align(1), mask));
  }
  llvm::Value* all = llvm::PoisonValue::get(WideType(type));
  const unsigned elements = ElementsOf(type);
  for (unsigned lane = 0; lane < count_; ++lane) {
    llvm::Value* part = kept(builder_.CreateAlignedLoad(type, ReadablePointerOf(load, lane, mask), llvm::Align(1)));
    if (!type->isVectorTy()) {
      all = builder_.CreateInsertElement(all, part, lane);
      continue;
    }
    llvm::SmallVector<int, 64> spread(count_ * elements, -1), merged(count_ * elements);
    for (unsigned e = 0; e < elements; ++e) spread[lane * elements + e] = static_cast<int>(e);
    for (unsigned i = 0; i < count_ * elements; ++i) {
      merged[i] = static_cast<int>(i / elements == lane ? count_ * elements + i : i);
    }
    all = builder_.CreateShuffleVector(all, builder_.CreateShuffleVector(part, spread), merged);
  }
  return all;
}

void LaneCode::EmitStore(llvm::StoreInst& store, llvm::Value* mask) {
  llvm::Value* pointer = store.getPointerOperand();
  llvm::Value* value = Wide(store.getValueOperand());
  if (const auto flag = flags_.find(pointer); flag != flags_.end()) {
    if (mask) value = builder_.CreateSelect(mask, value, builder_.CreateLoad(value->getType(), flag->second));
    builder_.CreateStore(value, flag->second);
    return;
  }
  llvm::Type* type = store.getValueOperand()->getType();
  const llvm::DataLayout& layout = store.getModule()->getDataLayout();
  const auto bytes = static_cast<int64_t>(layout.getTypeStoreSize(type));
  const std::optional<int64_t> stride = StrideOf(pointer);
  if (stride == bytes || stride == -bytes) {
    llvm::Value* to = stride == bytes ? Scalar(pointer) : PointerOf(pointer, count_ - 1);
    if (stride == -bytes) value = Reversed(value, type);
    if (!mask) {
      KeepScopes(store, builder_.CreateAlignedStore(value, to, llvm::Align(1)));
    } else {
      llvm::Value* which = MaskFor(mask, type);
      KeepScopes(store, builder_.CreateMaskedStore(value, to, llvm::Align(1),
                                                   stride == bytes ? which : Reversed(which, type)));
    }
    return;
  }
  if (!type->isVectorTy() && type->getPrimitiveSizeInBits() >= 32 && (mask || HasScatters(store))) {
    KeepScopes(store, builder_.CreateMaskedScatter(value, Wide(pointer), llvm::Align(1), mask));
    return;
  }
  for (unsigned lane = 0; lane < count_; ++lane) {
    llvm::Value* part = LaneOf(value, lane, type);
    llvm::Value* to = PointerOf(pointer, lane);
    if (!mask) {
      KeepScopes(store, builder_.CreateAlignedStore(part, to, llvm::Align(1)));
      continue;
    }
    auto* vector = llvm::FixedVectorType::get(type->getScalarType(), ElementsOf(type));
    llvm::Value* there = builder_.CreateVectorSplat(ElementsOf(type), builder_.CreateExtractElement(mask, lane));
    if (!type->isVectorTy()) part = builder_.CreateInsertElement(llvm::PoisonValue::get(vector), part, uint64_t{0});
    KeepScopes(store, builder_.CreateMaskedStore(part, to, llvm::Align(1), there));
  }
}

std::optional<Lanes> LanesOfGather(const llvm::Instruction& instruction) {
  const auto* gather = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction);
  if (!gather || gather->getIntrinsicID() != llvm::Intrinsic::masked_gather) return std::nullopt;
  const auto* mask = llvm::dyn_cast<llvm::Constant>(gather->getArgOperand(2));
  const auto* address = llvm::dyn_cast<llvm::GetElementPtrInst>(gather->getArgOperand(0));
  if (!mask || !mask->isAllOnesValue() || !address || address->getNumIndices() != 1) return std::nullopt;
  if (!address->getSourceElementType()->isIntegerTy(8) || address->getPointerOperand()->getType()->isVectorTy())
    return std::nullopt;
  const auto* distances = llvm::dyn_cast<llvm::ConstantDataVector>(address->getOperand(1));
  if (!distances || !distances->getElementType()->isIntegerTy(64) || distances->getNumElements() < 2) return std::nullopt;
  const uint64_t step = distances->getElementAsInteger(1);
  for (unsigned lane = 0; lane < distances->getNumElements(); ++lane) {
    if (distances->getElementAsInteger(lane) != step * lane) return std::nullopt;
  }
  return Lanes{const_cast<llvm::Value*>(address->getPointerOperand()), static_cast<int64_t>(step)};
}

}  // namespace tracelift::jit

#include "jit/emit/result_function.h"

#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <vector>

#include "jit/artifact.h"
#include "jit/emit/panel_function.h"
#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

// One pass of the chunk function, one iteration of the loops of each dimension: with an argument more for each of these.
llvm::Function* MakeThreadFunction(llvm::Function& chunk, const KernelPlan& plan, Analyses& analyses) {
  std::vector<std::vector<llvm::BasicBlock*>> dimensions = plan.headers;
  if (dimensions.empty()) dimensions.emplace_back();  // the argument is not used then
  llvm::Function* thread = &chunk;
  for (size_t i = 0; i < dimensions.size(); ++i) {
    PanelFunction part(*thread, dimensions[i], ".thread", analyses);
    bool fits = part.CanRestrict();
    for (size_t later = i + 1; later < dimensions.size(); ++later) {
      for (llvm::BasicBlock*& header : dimensions[later]) {
        header = part.CopyOf(header);
        fits &= header != nullptr;
      }
    }
    if (fits) part.RestrictToPart(1);
    if (thread != &chunk) thread->eraseFromParent();
    thread = &part.function();
    if (fits) continue;
    thread->eraseFromParent();
    return nullptr;
  }
  return thread;
}

// The function and what it needs, moved to a module of its own.
std::unique_ptr<llvm::Module> MoveOut(llvm::Function& function, llvm::Function** moved) {
  llvm::ValueToValueMapTy map;
  std::unique_ptr<llvm::Module> module = llvm::CloneModule(*function.getParent(), map, [&](const llvm::GlobalValue* value) {
    return value == &function || llvm::isa<llvm::GlobalVariable>(value);
  });
  *moved = llvm::cast<llvm::Function>(map[&function]);
  function.eraseFromParent();
  for (llvm::Function& other : llvm::make_early_inc_range(*module)) {
    if (&other != *moved && other.use_empty()) other.eraseFromParent();
  }
  return module;
}

void MarkInvariant(llvm::LoadInst& read) {
  read.setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(read.getContext(), {}));
}

class ResultBuilder {
 public:
  ResultBuilder(llvm::Function& thread, const Kernel& kernel, std::span<const Reduction> reductions)
      : thread_(thread), kernel_(kernel), reductions_(reductions), module_(*thread.getParent()), builder_(module_.getContext()) {}

  // Null when some access cannot be moved to the device.
  llvm::Function* Build() {
    MarkStateReads();
    MakeFunction();
    const LaunchReader launch(builder_, function_->getArg(0), kernel_.target);
    llvm::Value* in = launch.Pointer(offsetof(KernelLaunch, state));
    llvm::Value* partial = reductions_.empty() ? nullptr : launch.Pointer(offsetof(KernelLaunch, partial));
    memory_ = launch.Pointer(offsetof(KernelLaunch, zero));
    llvm::Value* first = launch.Number(offsetof(KernelLaunch, first));
    llvm::Value* count = kernel_.ordered ? launch.Number(offsetof(KernelLaunch, count)) : builder_.getInt64(1);
    distance_.assign(kMaxMemories, nullptr);
    result_ = builder_.CreateAlloca(llvm::ArrayType::get(builder_.getInt8Ty(), sizeof(ChunkResult)));
    result_->setAlignment(llvm::Align(8));
    distances_at_ = result_;

    builder_.CreateStore(builder_.getInt32(0), InResult(offsetof(ChunkResult, flags)));
    const auto partial_at = [](size_t i) { return offsetof(ChunkResult, partial) + i * sizeof(uint64_t); };
    for (size_t i = 0; i < reductions_.size(); ++i) builder_.CreateStore(builder_.getInt64(NeutralValue(reductions_[i])), InResult(partial_at(i)));
    std::vector<llvm::Value*> arguments = {in, llvm::ConstantPointerNull::get(builder_.getPtrTy()),
                                           builder_.CreateAdd(first, function_->getArg(1)), count, result_};
    for (unsigned i = 1; i <= std::max(1u, unsigned{kernel_.inner_dims}); ++i) arguments.push_back(function_->getArg(1 + i));
    llvm::CallInst* call = builder_.CreateCall(&thread_, arguments);
    for (size_t i = 0; i < reductions_.size(); ++i) {
      llvm::Value* value = builder_.CreateLoad(builder_.getInt64Ty(), InResult(partial_at(i)));
      llvm::Value* changes = builder_.CreateICmpNE(value, builder_.getInt64(NeutralValue(reductions_[i])));
      If(changes, [&] { CombinePartial(partial, i, value); });
    }
    builder_.CreateRet(builder_.CreateLoad(builder_.getInt32Ty(), InResult(offsetof(ChunkResult, flags))));

    llvm::InlineFunctionInfo info;
    const llvm::InlineResult inlined = llvm::InlineFunction(*call, info);
    if (!inlined.isSuccess() || !thread_.use_empty()) return nullptr;
    thread_.eraseFromParent();
    return MoveAccesses() ? function_ : nullptr;
  }

 private:
  // The state at entry stays as it is, too.
  void MarkStateReads() {
    for (llvm::Instruction& instruction : llvm::instructions(thread_)) {
      auto* read = llvm::dyn_cast<llvm::LoadInst>(&instruction);
      if (read && llvm::getUnderlyingObject(read->getPointerOperand(), 0) == thread_.getArg(0)) MarkInvariant(*read);
    }
  }

  void MakeFunction() {
    std::vector<llvm::Type*> arguments(1 + kMaxGridDims, builder_.getInt64Ty());
    arguments[0] = builder_.getPtrTy();
    auto* type = llvm::FunctionType::get(builder_.getInt32Ty(), arguments, false);
    function_ = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, "result", module_);
    function_->setAttributes(function_->getAttributes().addFnAttributes(module_.getContext(), llvm::AttrBuilder(module_.getContext(), thread_.getAttributes().getFnAttrs())));
    builder_.SetInsertPoint(llvm::BasicBlock::Create(module_.getContext(), "entry", function_));
  }

  llvm::Value* InResult(size_t offset) { return builder_.CreateConstInBoundsGEP1_64(builder_.getInt8Ty(), result_, offset); }

  template <typename Emit>
  void If(llvm::Value* condition, Emit emit) {
    llvm::BasicBlock *then = llvm::BasicBlock::Create(module_.getContext(), "", function_),
                     *after = llvm::BasicBlock::Create(module_.getContext(), "", function_);
    builder_.CreateCondBr(condition, then, after);
    builder_.SetInsertPoint(then);
    emit();
    builder_.CreateBr(after);
    builder_.SetInsertPoint(after);
  }

  void Combine(llvm::AtomicRMWInst::BinOp operation, llvm::Value* place, llvm::Value* value) {
    builder_.CreateAtomicRMW(operation, place, value, llvm::Align(value->getType()->getIntegerBitWidth() / 8), llvm::AtomicOrdering::Monotonic);
  }

  // Of the 64 bits there only as many count as the reduction has; for signed extremes they are sign-extended.
  void CombinePartial(llvm::Value* partial, size_t index, llvm::Value* value) {
    const Reduction reduction = reductions_[index];
    llvm::Value* place = builder_.CreateConstInBoundsGEP1_64(builder_.getInt64Ty(), partial, index);
    const auto is_signed = reduction.kind == ReductionKind::kSMin || reduction.kind == ReductionKind::kSMax;
    if (is_signed) value = builder_.CreateSExt(builder_.CreateTrunc(value, builder_.getIntNTy(reduction.bits)), builder_.getInt64Ty());
    using Operation = llvm::AtomicRMWInst;
    switch (reduction.kind) {
      case ReductionKind::kAdd: return Combine(Operation::Add, place, value);
      case ReductionKind::kAnd: return Combine(Operation::And, place, value);
      case ReductionKind::kOr: return Combine(Operation::Or, place, value);
      case ReductionKind::kXor: return Combine(Operation::Xor, place, value);
      case ReductionKind::kSMin: return Combine(Operation::Min, place, value);
      case ReductionKind::kSMax: return Combine(Operation::Max, place, value);
      case ReductionKind::kUMin: return Combine(Operation::UMin, place, value);
      case ReductionKind::kUMax: return Combine(Operation::UMax, place, value);
      case ReductionKind::kFAdd:
      case ReductionKind::kFMul: llvm_unreachable("floats have an order");
    }
  }

  llvm::Value* DistanceOf(int memory) {
    llvm::Value*& distance = distance_[static_cast<size_t>(memory)];
    if (!distance) {
      builder_.SetInsertPoint(distances_at_);
      distance = LaunchReader(builder_, function_->getArg(0), kernel_.target).Number(offsetof(KernelLaunch, distance) + static_cast<size_t>(memory) * sizeof(uint64_t));
    }
    return distance;
  }

  // Every access of the program goes to the copy of its memory.
  bool MoveAccesses() {
    std::vector<llvm::Instruction*> bases;
    std::vector<std::pair<llvm::Instruction*, llvm::Use*>> accesses;
    for (llvm::Instruction& instruction : llvm::instructions(*function_)) {
      if (IsProgramMemory(&instruction)) bases.push_back(&instruction);
      if (!instruction.mayReadOrWriteMemory()) continue;
      if (MemoryOf(instruction).memory < 0) {
        if (TouchesProgram(instruction)) return false;
        continue;
      }
      if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction)) {
        accesses.emplace_back(load, &load->getOperandUse(llvm::LoadInst::getPointerOperandIndex()));
      } else if (auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction)) {
        accesses.emplace_back(store, &store->getOperandUse(llvm::StoreInst::getPointerOperandIndex()));
      } else if (auto* fill = llvm::dyn_cast<llvm::MemSetInst>(&instruction)) {
        accesses.emplace_back(fill, &fill->getRawDestUse());
      } else {
        return false;
      }
    }
    for (const auto& [access, pointer] : accesses) {
      const auto [memory, alignment] = MemoryOf(*access);
      llvm::Value* distance = DistanceOf(memory);
      builder_.SetInsertPoint(access);
      if (alignment == 0) KeepAligned(*access, *pointer);
      pointer->set(builder_.CreateGEP(builder_.getInt8Ty(), pointer->get(), distance));
      if (alignment > 1) SetAlignment(*access, alignment);
    }
    for (llvm::Instruction* base : bases) {
      llvm::Value* holder = base->getOperand(0);
      base->replaceAllUsesWith(memory_);
      base->eraseFromParent();
      for (llvm::User* user : llvm::make_early_inc_range(holder->users())) {
        if (llvm::isa<llvm::StoreInst>(user)) llvm::cast<llvm::Instruction>(user)->eraseFromParent();
      }
    }
    return true;
  }

  // GPUs read and write numbers only at multiples of their size; elsewhere, byte by byte.
  static void SetAlignment(llvm::Instruction& access, uint64_t alignment) {
    const uint64_t natural = llvm::PowerOf2Ceil(access.getModule()->getDataLayout().getTypeStoreSize(TypeOf(access)).getFixedValue());
    const llvm::Align known(std::min(alignment, natural));
    if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&access)) load->setAlignment(std::max(load->getAlign(), known));
    if (auto* store = llvm::dyn_cast<llvm::StoreInst>(&access)) store->setAlignment(std::max(store->getAlign(), known));
  }
  static llvm::Type* TypeOf(llvm::Instruction& access) {
    return llvm::isa<llvm::MemSetInst>(access) ? llvm::Type::getInt8Ty(access.getContext()) : llvm::getLoadStoreType(&access);
  }

  // A read where only data tell: at another address than a multiple of its size it counts as one that strays.
  void KeepAligned(llvm::Instruction& access, llvm::Use& pointer) {
    const uint64_t bytes = module_.getDataLayout().getTypeStoreSize(TypeOf(access)).getFixedValue();
    if (bytes == 1 || !llvm::isPowerOf2_64(bytes) || bytes > 16) return;
    llvm::Value* address = builder_.CreatePtrToInt(pointer.get(), builder_.getInt64Ty());
    llvm::Value* rest = builder_.CreateAnd(address, builder_.getInt64(bytes - 1));
    llvm::Value* flags_at = InResult(offsetof(ChunkResult, flags));
    llvm::Value* flags = builder_.CreateLoad(builder_.getInt32Ty(), flags_at);
    llvm::Value* flag = builder_.CreateSelect(builder_.CreateIsNotNull(rest), builder_.getInt32(kFlagStrayed), builder_.getInt32(0));
    builder_.CreateStore(builder_.CreateOr(flags, flag), flags_at);
    pointer.set(builder_.CreateGEP(builder_.getInt8Ty(), pointer.get(), builder_.CreateNeg(rest)));
    SetAlignment(access, bytes);
  }

  // Not what the launch has, nor the thread's own variables.
  bool TouchesProgram(const llvm::Instruction& instruction) const {
    const auto is_programs = [](const llvm::Value* pointer) { return IsProgramMemory(llvm::getUnderlyingObject(pointer, 0)); };
    if (const llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction)) return is_programs(pointer);
    return llvm::any_of(instruction.operands(), [&](const llvm::Use& operand) {
      return operand->getType()->isPointerTy() && is_programs(operand.get());
    });
  }

  llvm::Function& thread_;
  const Kernel& kernel_;
  const std::span<const Reduction> reductions_;
  llvm::Module& module_;
  llvm::IRBuilder<> builder_;
  llvm::Function* function_ = nullptr;
  llvm::Value* memory_ = nullptr;
  std::vector<llvm::Value*> distance_;  // by memory, once loaded
  llvm::Instruction* distances_at_ = nullptr;
  llvm::AllocaInst* result_ = nullptr;
};

}  // namespace

llvm::Value* LaunchReader::Field(size_t offset, llvm::Type* type) const {
  llvm::Value* at = builder_.CreateConstInBoundsGEP1_64(builder_.getInt8Ty(), launch_, offset);
  llvm::LoadInst* field = builder_.CreateAlignedLoad(type, at, llvm::Align(8));
  MarkInvariant(*field);
  return field;
}

llvm::Value* LaunchReader::Pointer(size_t offset) const {
  if (target_ != KernelTarget::kPtx) return Field(offset, builder_.getPtrTy());
  llvm::Value* global = builder_.CreateIntToPtr(Number(offset), builder_.getPtrTy(kGlobalMemory));
  return builder_.CreateAddrSpaceCast(global, builder_.getPtrTy());
}

std::expected<ResultFunction, std::string> MakeResultFunction(llvm::Function& chunk, const KernelPlan& plan,
                                                              std::span<const Reduction> reductions, Analyses& analyses) {
  llvm::Function* thread = MakeThreadFunction(chunk, plan, analyses);
  if (!thread) return std::unexpected("its loops cannot be cut into threads");
  std::unique_ptr<llvm::Module> module = MoveOut(*thread, &thread);
  analyses.function.clear();
  llvm::Function* function = ResultBuilder(*thread, plan.kernel, reductions).Build();
  if (!function) return std::unexpected("an access of it cannot be moved to a copy");
  return ResultFunction{std::move(module), function};
}

}  // namespace tracelift::jit

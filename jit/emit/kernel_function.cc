#include "jit/emit/kernel_function.h"

#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/IntrinsicsNVPTX.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <vector>

#include "jit/artifact.h"
#include "jit/emit/panel_function.h"
#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

constexpr unsigned kGlobalMemory = 1;  // address space of NVPTX

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

class KernelBuilder {
 public:
  KernelBuilder(llvm::Function& thread, const Kernel& kernel, std::span<const Reduction> reductions)
      : thread_(thread), kernel_(kernel), tile_(TileOf(kernel)), reductions_(reductions), module_(*thread.getParent()), builder_(module_.getContext()) {}

  // Null when some access cannot be moved to the device.
  llvm::Function* Build() {
    kernel_.target == KernelTarget::kPtx ? BuildForGrid() : BuildForRange();
    llvm::InlineFunctionInfo info;
    const llvm::InlineResult inlined = llvm::InlineFunction(*call_, info);
    if (!inlined.isSuccess() || !thread_.use_empty()) return nullptr;
    thread_.eraseFromParent();
    return MoveAccesses() ? function_ : nullptr;
  }

 private:
  llvm::Type* I64() { return builder_.getInt64Ty(); }

  llvm::Value* Field(size_t offset, llvm::Type* type) {
    llvm::Value* at = builder_.CreateConstInBoundsGEP1_64(builder_.getInt8Ty(), launch_, offset);
    return builder_.CreateAlignedLoad(type, at, llvm::Align(8));
  }
  // An address that the launch has, as a pointer.
  llvm::Value* Pointer(size_t offset) {
    if (kernel_.target != KernelTarget::kPtx) return Field(offset, builder_.getPtrTy());
    llvm::Value* global = builder_.CreateIntToPtr(Field(offset, I64()), builder_.getPtrTy(kGlobalMemory));
    return builder_.CreateAddrSpaceCast(global, builder_.getPtrTy());
  }

  void MakeFunction(llvm::ArrayRef<llvm::Type*> arguments) {
    auto* type = llvm::FunctionType::get(builder_.getVoidTy(), arguments, false);
    function_ = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, kernel_.symbol, module_);
    function_->setAttributes(function_->getAttributes().addFnAttributes(module_.getContext(), llvm::AttrBuilder(module_.getContext(), thread_.getAttributes().getFnAttrs())));
    launch_ = function_->getArg(0);
    builder_.SetInsertPoint(llvm::BasicBlock::Create(module_.getContext(), "entry", function_));
  }

  // What all threads have in common.
  void LoadLaunch() {
    in_ = Pointer(offsetof(KernelLaunch, state));
    flags_ = Pointer(offsetof(KernelLaunch, flags));
    partial_ = reductions_.empty() ? nullptr : Pointer(offsetof(KernelLaunch, partial));
    memory_ = Pointer(offsetof(KernelLaunch, zero));
    first_ = Field(offsetof(KernelLaunch, first), I64());
    count_ = kernel_.ordered ? Field(offsetof(KernelLaunch, count), I64()) : builder_.getInt64(1);
    for (size_t i = 0; i < kMaxGridDims; ++i) extent_[i] = Field(offsetof(KernelLaunch, extent) + i * sizeof(int64_t), I64());
    distance_.assign(kMaxMemories, nullptr);
    result_ = builder_.CreateAlloca(llvm::ArrayType::get(builder_.getInt8Ty(), sizeof(ChunkResult)));
    result_->setAlignment(llvm::Align(8));
    distances_at_ = result_;
  }

  // for (i = first; i < behind; ++i) body(i)
  template <typename Body>
  void For(llvm::Value* first, llvm::Value* behind, Body body) {
    llvm::LLVMContext& context = module_.getContext();
    llvm::BasicBlock *before = builder_.GetInsertBlock(), *loop = llvm::BasicBlock::Create(context, "", function_),
                     *end = llvm::BasicBlock::Create(context, "", function_);
    builder_.CreateCondBr(builder_.CreateICmpSLT(first, behind), loop, end);
    builder_.SetInsertPoint(loop);
    llvm::PHINode* index = builder_.CreatePHI(I64(), 2);
    index->addIncoming(first, before);
    body(index);
    llvm::Value* next = builder_.CreateAdd(index, builder_.getInt64(1), "", /*HasNUW=*/true, /*HasNSW=*/true);
    index->addIncoming(next, builder_.GetInsertBlock());
    builder_.CreateCondBr(builder_.CreateICmpSLT(next, behind), loop, end);
    builder_.SetInsertPoint(end);
  }

  // All blocks of a range, in each all threads.
  void BuildForRange() {
    MakeFunction({builder_.getPtrTy(), I64(), I64()});
    LoadLaunch();
    For(function_->getArg(1), function_->getArg(2), [&](llvm::Value* block) {
      For(builder_.getInt64(0), builder_.getInt64(static_cast<uint64_t>(tile_.y)), [&](llvm::Value* y) {
        For(builder_.getInt64(0), builder_.getInt64(static_cast<uint64_t>(tile_.x)), [&](llvm::Value* x) { RunThread(block, x, y); });
      });
    });
    builder_.CreateRetVoid();
  }

  // One thread, told by the machine which.
  void BuildForGrid() {
    llvm::LLVMContext& context = module_.getContext();
    MakeFunction({builder_.getPtrTy()});
    auto* launch_type = llvm::ArrayType::get(builder_.getInt64Ty(), sizeof(KernelLaunch) / sizeof(uint64_t));
    function_->addParamAttr(0, llvm::Attribute::getWithByValType(context, launch_type));
    function_->addParamAttr(0, llvm::Attribute::getWithAlignment(context, llvm::Align(8)));
    llvm::NamedMDNode* annotations = module_.getOrInsertNamedMetadata("nvvm.annotations");
    const auto annotate = [&](const char* name, uint32_t value) {
      annotations->addOperand(llvm::MDNode::get(context, {llvm::ValueAsMetadata::get(function_), llvm::MDString::get(context, name),
                                                          llvm::ConstantAsMetadata::get(builder_.getInt32(value))}));
    };
    annotate("kernel", 1);
    annotate("reqntidx", static_cast<uint32_t>(kBlockThreads));
    LoadLaunch();
    const auto number = [&](llvm::Intrinsic::ID id) { return builder_.CreateZExt(builder_.CreateIntrinsic(id, {}, {}), I64()); };
    llvm::Value* block = number(llvm::Intrinsic::nvvm_read_ptx_sreg_ctaid_x);
    llvm::Value* lane = number(llvm::Intrinsic::nvvm_read_ptx_sreg_tid_x);
    llvm::Value* width = builder_.getInt64(static_cast<uint64_t>(tile_.x));
    RunThread(block, builder_.CreateURem(lane, width), builder_.CreateUDiv(lane, width));
    builder_.CreateRetVoid();
  }

  struct Place {
    std::vector<llvm::Value*> index;  // by dimension
    llvm::Value* exists = nullptr;    // tiles at the end are not whole
  };
  Place PlaceOf(llvm::Value* block, llvm::Value* x, llvm::Value* y) {
    const auto dims = DimsFromInside(kernel_);
    Place place{std::vector<llvm::Value*>(size_t{kernel_.inner_dims} + 1), builder_.getTrue()};
    const auto set = [&](size_t level, int64_t tile, llvm::Value* in_tile) {
      const size_t dim = dims[level];
      llvm::Value* number = block;
      llvm::Value* size = builder_.getInt64(static_cast<uint64_t>(tile));
      if (level < kernel_.inner_dims) {  // further out there are more
        llvm::Value* tiles = builder_.CreateUDiv(builder_.CreateAdd(extent_[dim], builder_.getInt64(static_cast<uint64_t>(tile - 1))), size);
        number = builder_.CreateURem(block, tiles);
        block = builder_.CreateUDiv(block, tiles);
      }
      llvm::Value* index = builder_.CreateAdd(builder_.CreateMul(number, size), in_tile);
      place.index[dim] = index;
      place.exists = builder_.CreateAnd(place.exists, builder_.CreateICmpULT(index, extent_[dim]));
    };
    set(0, tile_.x, x);
    if (kernel_.inner_dims > 0) set(1, tile_.y, y);
    if (kernel_.inner_dims > 1) set(2, 1, builder_.getInt64(0));
    return place;
  }

  llvm::Value* InResult(size_t offset) { return builder_.CreateConstInBoundsGEP1_64(builder_.getInt8Ty(), result_, offset); }

  void RunThread(llvm::Value* block, llvm::Value* x, llvm::Value* y) {
    const Place place = PlaceOf(block, x, y);
    If(place.exists, [&] { RunThread(place.index); });
  }

  void RunThread(const std::vector<llvm::Value*>& indices) {
    builder_.CreateStore(builder_.getInt32(0), InResult(offsetof(ChunkResult, flags)));
    const auto partial_at = [](size_t i) { return offsetof(ChunkResult, partial) + i * sizeof(uint64_t); };
    for (size_t i = 0; i < reductions_.size(); ++i) {
      builder_.CreateStore(builder_.getInt64(NeutralValue(reductions_[i])), InResult(partial_at(i)));
    }
    std::vector<llvm::Value*> arguments = {in_, llvm::ConstantPointerNull::get(builder_.getPtrTy()),
                                           builder_.CreateAdd(first_, indices[0]), count_, result_};
    for (size_t i = 1; i < indices.size(); ++i) arguments.push_back(indices[i]);
    if (indices.size() == 1) arguments.push_back(builder_.getInt64(0));
    call_ = builder_.CreateCall(&thread_, arguments);
    llvm::Value* flags = builder_.CreateLoad(builder_.getInt32Ty(), InResult(offsetof(ChunkResult, flags)));
    If(builder_.CreateIsNotNull(flags), [&] { Combine(llvm::AtomicRMWInst::Or, flags_, flags); });
    for (size_t i = 0; i < reductions_.size(); ++i) {
      llvm::Value* partial = builder_.CreateLoad(I64(), InResult(partial_at(i)));
      llvm::Value* changes = builder_.CreateICmpNE(partial, builder_.getInt64(NeutralValue(reductions_[i])));
      If(changes, [&] { CombinePartial(i, partial); });
    }
  }

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
  void CombinePartial(size_t index, llvm::Value* value) {
    const Reduction reduction = reductions_[index];
    llvm::Value* place = builder_.CreateConstInBoundsGEP1_64(I64(), partial_, index);
    const auto is_signed = reduction.kind == ReductionKind::kSMin || reduction.kind == ReductionKind::kSMax;
    if (is_signed) value = builder_.CreateSExt(builder_.CreateTrunc(value, builder_.getIntNTy(reduction.bits)), I64());
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
      distance = Field(offsetof(KernelLaunch, distance) + static_cast<size_t>(memory) * sizeof(uint64_t), I64());
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
    llvm::Value* address = builder_.CreatePtrToInt(pointer.get(), I64());
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
  const Tile tile_;
  const std::span<const Reduction> reductions_;
  llvm::Module& module_;
  llvm::IRBuilder<> builder_;
  llvm::Function* function_ = nullptr;
  llvm::Value *launch_ = nullptr, *in_ = nullptr, *flags_ = nullptr, *partial_ = nullptr, *memory_ = nullptr, *first_ = nullptr, *count_ = nullptr;
  llvm::Value* extent_[kMaxGridDims] = {};
  std::vector<llvm::Value*> distance_;  // by memory, once loaded
  llvm::Instruction* distances_at_ = nullptr;
  llvm::AllocaInst* result_ = nullptr;
  llvm::CallInst* call_ = nullptr;
};

}  // namespace

std::expected<std::unique_ptr<llvm::Module>, std::string> MakeKernel(llvm::Function& chunk, const KernelPlan& plan,
                                                                     std::span<const Reduction> reductions, Analyses& analyses) {
  llvm::Function* thread = MakeThreadFunction(chunk, plan, analyses);
  if (!thread) return std::unexpected("its loops cannot be cut into threads");
  std::unique_ptr<llvm::Module> module = MoveOut(*thread, &thread);
  analyses.function.clear();
  if (!KernelBuilder(*thread, plan.kernel, reductions).Build()) return std::unexpected("an access of it cannot be moved to a copy");
  return module;
}

}  // namespace tracelift::jit

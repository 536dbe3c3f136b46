#include "jit/emit/kernel_function.h"

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicsNVPTX.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <vector>

#include "jit/emit/result_function.h"
#include "jit/emit/tile_function.h"

namespace tracelift::jit {
namespace {

// Blocks that a processor of a GPU is to have room for, where threads do several results: at most 128 registers for each. Assemblers
// that are not told aim at twice as many threads, and keep what they then have no registers for in memory.
constexpr uint32_t kBlocksTogether = 2;

class KernelBuilder {
 public:
  KernelBuilder(llvm::Function& result, llvm::Function* tile, const Kernel& kernel)
      : result_(result), tile_(tile), kernel_(kernel), threads_(TileOf(kernel)), module_(*result.getParent()), builder_(module_.getContext()) {}

  bool Build() {
    kernel_.target == KernelTarget::kPtx ? BuildForGrid() : BuildForRange();
    return Inline(&result_) && Inline(tile_);
  }

 private:
  llvm::Type* I64() { return builder_.getInt64Ty(); }
  llvm::Value* I64(int64_t value) { return builder_.getInt64(static_cast<uint64_t>(value)); }

  bool Inline(llvm::Function* function) {
    if (!function) return true;
    llvm::InlineFunctionInfo info;
    const bool inlined = llvm::InlineFunction(*llvm::cast<llvm::CallInst>(function->user_back()), info).isSuccess() && function->use_empty();
    if (inlined) function->eraseFromParent();
    return inlined;
  }

  void MakeFunction(llvm::ArrayRef<llvm::Type*> arguments) {
    auto* type = llvm::FunctionType::get(builder_.getVoidTy(), arguments, false);
    function_ = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, kernel_.symbol, module_);
    function_->setAttributes(function_->getAttributes().addFnAttributes(module_.getContext(), llvm::AttrBuilder(module_.getContext(), result_.getAttributes().getFnAttrs())));
    builder_.SetInsertPoint(llvm::BasicBlock::Create(module_.getContext(), "entry", function_));
  }

  // What all threads have in common.
  void LoadLaunch() {
    const LaunchReader launch(builder_, function_->getArg(0), kernel_.target);
    flags_ = launch.Pointer(offsetof(KernelLaunch, flags));
    for (size_t i = 0; i < kMaxGridDims; ++i) extent_[i] = launch.Extent(i);
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
      For(builder_.getInt64(0), builder_.getInt64(static_cast<uint64_t>(threads_.y)), [&](llvm::Value* y) {
        For(builder_.getInt64(0), builder_.getInt64(static_cast<uint64_t>(threads_.x)), [&](llvm::Value* x) { RunThread(block, x, y); });
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
    if (tile_) annotate("minctasm", kBlocksTogether);
    LoadLaunch();
    const auto number = [&](llvm::Intrinsic::ID id) { return builder_.CreateZExt(builder_.CreateIntrinsic(id, {}, {}), I64()); };
    llvm::Value* block = number(llvm::Intrinsic::nvvm_read_ptx_sreg_ctaid_x);
    llvm::Value* lane = number(llvm::Intrinsic::nvvm_read_ptx_sreg_tid_x);
    llvm::Value* width = builder_.getInt64(static_cast<uint64_t>(threads_.x));
    RunThread(block, builder_.CreateURem(lane, width), builder_.CreateUDiv(lane, width));
    builder_.CreateRetVoid();
  }

  // What a thread has to do along one dimension of the grid.
  struct Span {
    llvm::Value* at = nullptr;     // its first result
    llvm::Value* count = nullptr;  // how many it does, `distance` apart
    llvm::Value* own_from = nullptr, *behind = nullptr;  // others do what lies outside of these
    int64_t distance = 1;
  };

  // Number of the tile along a dimension, of so many; what is left of the block's number counts along the dimensions further out.
  llvm::Value* TakeNumber(llvm::Value** block, llvm::Value* tiles) {
    llvm::Value* number = builder_.CreateURem(*block, tiles);
    *block = builder_.CreateUDiv(*block, tiles);
    return number;
  }
  llvm::Value* TilesIn(llvm::Value* extent, llvm::Value* side) {
    return builder_.CreateUDiv(builder_.CreateAdd(extent, builder_.CreateSub(side, I64(1))), side);
  }

  // By level, from inside (DimsFromInside). Where threads do several results each, all tiles are whole: the last one begins earlier, and
  // what it has in common with the one before is that one's.
  std::vector<Span> SpansOf(llvm::Value* block, llvm::Value* x, llvm::Value* y, llvm::Value* several) {
    const auto dims = DimsFromInside(kernel_);
    std::vector<Span> spans;
    for (size_t level = 0; level <= kernel_.inner_dims; ++level) {
      llvm::Value* extent = extent_[dims[level]];
      const int64_t threads = level == 0 ? threads_.x : level == 1 ? threads_.y : 1, results = ResultsAt(level);
      llvm::Value *thread = level == 0 ? x : level == 1 ? y : I64(0), *side = I64(threads);
      if (several && level < 2) side = builder_.CreateSelect(several, I64(threads * results), side);
      llvm::Value* number = level < kernel_.inner_dims ? TakeNumber(&block, TilesIn(extent, side)) : block;
      llvm::Value* own_from = builder_.CreateMul(number, side);
      Span span{own_from, I64(1), own_from, extent, level == 0 ? threads : 1};
      if (several && level < 2) {
        llvm::Value* last = builder_.CreateSub(extent, side);
        span.at = builder_.CreateSelect(several, builder_.CreateBinaryIntrinsic(llvm::Intrinsic::umin, own_from, last), own_from);
        span.count = builder_.CreateSelect(several, I64(results), I64(1));
        if (level == 1) thread = builder_.CreateMul(thread, span.count);
      }
      span.at = builder_.CreateAdd(span.at, thread);
      spans.push_back(span);
    }
    return spans;
  }
  int64_t ResultsAt(size_t level) const { return level == 0 ? kernel_.columns : level == 1 ? kernel_.rows : 1; }

  // As ThreadsDoSeveral.
  llvm::Value* Several() {
    const auto dims = DimsFromInside(kernel_);
    llvm::Value *results = I64(1), *several = builder_.getTrue();
    for (llvm::Value* extent : extent_) results = builder_.CreateMul(results, extent);
    for (size_t level = 0; level < 2 && level <= kernel_.inner_dims; ++level) {
      const int64_t side = ResultsAt(level) * (level == 0 ? threads_.x : threads_.y);
      several = builder_.CreateAnd(several, builder_.CreateICmpUGE(extent_[dims[level]], I64(side)));
    }
    return builder_.CreateAnd(several, builder_.CreateICmpUGE(results, builder_.getInt64(kFewestThreads * kernel_.rows * kernel_.columns)));
  }

  void RunThread(llvm::Value* block, llvm::Value* x, llvm::Value* y) {
    llvm::Value* several = tile_ ? Several() : nullptr;
    const std::vector<Span> spans = SpansOf(block, x, y, several);
    if (!tile_) return If(Exists(spans), [&] { OrFlags(CallResult(spans)); });

    llvm::BasicBlock *one_by_one = NewBlock(), *end = NewBlock(), *together = NewBlock();
    GoOnIf(several, one_by_one);
    llvm::Value* has_own = builder_.getTrue();
    for (const Span& span : spans) {
      llvm::Value* last = builder_.CreateAdd(span.at, builder_.CreateMul(builder_.CreateSub(span.count, I64(1)), I64(span.distance)));
      has_own = builder_.CreateAnd(has_own, builder_.CreateICmpUGE(last, span.own_from));
    }
    GoOnIf(has_own, end);
    llvm::Value* flags = CallTile(spans);
    builder_.CreateCondBr(builder_.CreateICmpNE(flags, builder_.getInt32(kNotTogether)), together, one_by_one);
    builder_.SetInsertPoint(together);
    OrFlags(flags);
    builder_.CreateBr(end);
    builder_.SetInsertPoint(one_by_one);
    RunOneByOne(spans);
    builder_.CreateBr(end);
    builder_.SetInsertPoint(end);
  }

  void RunOneByOne(const std::vector<Span>& spans) {
    std::vector<Span> one = spans;
    const auto along = [&](size_t level, auto&& body) {
      if (level >= spans.size()) return body();
      For(I64(0), spans[level].count, [&](llvm::Value* i) {
        one[level].at = builder_.CreateAdd(spans[level].at, builder_.CreateMul(i, I64(spans[level].distance)));
        body();
      });
    };
    along(1, [&] { along(0, [&] { If(Exists(one), [&] { OrFlags(CallResult(one)); }); }); });
  }

  llvm::Value* Exists(const std::vector<Span>& spans) {
    llvm::Value* exists = builder_.getTrue();
    for (const Span& span : spans) {
      exists = builder_.CreateAnd(exists, builder_.CreateICmpULT(span.at, span.behind));
      if (tile_) exists = builder_.CreateAnd(exists, builder_.CreateICmpUGE(span.at, span.own_from));
    }
    return exists;
  }

  std::vector<llvm::Value*> PlaceOf(const std::vector<Span>& spans) {
    const auto dims = DimsFromInside(kernel_);
    std::vector<llvm::Value*> arguments(1 + kMaxGridDims, I64(0));
    arguments[0] = function_->getArg(0);
    for (size_t level = 0; level < spans.size(); ++level) arguments[1u + dims[level]] = spans[level].at;
    return arguments;
  }
  llvm::Value* CallResult(const std::vector<Span>& spans) { return builder_.CreateCall(&result_, PlaceOf(spans)); }
  llvm::Value* CallTile(const std::vector<Span>& spans) {
    std::vector<llvm::Value*> arguments = PlaceOf(spans);
    arguments.push_back(spans.size() > 1 ? spans[1].own_from : I64(0));
    arguments.push_back(spans[0].own_from);
    return builder_.CreateCall(tile_, arguments);
  }

  void OrFlags(llvm::Value* flags) {
    If(builder_.CreateIsNotNull(flags), [&] {
      builder_.CreateAtomicRMW(llvm::AtomicRMWInst::Or, flags_, flags, llvm::Align(sizeof(uint32_t)), llvm::AtomicOrdering::Monotonic);
    });
  }

  llvm::BasicBlock* NewBlock() { return llvm::BasicBlock::Create(module_.getContext(), "", function_); }
  template <typename Emit>
  void If(llvm::Value* condition, Emit emit) {
    llvm::BasicBlock* after = NewBlock();
    GoOnIf(condition, after);
    emit();
    builder_.CreateBr(after);
    builder_.SetInsertPoint(after);
  }
  void GoOnIf(llvm::Value* condition, llvm::BasicBlock* otherwise) {
    llvm::BasicBlock* then = NewBlock();
    builder_.CreateCondBr(condition, then, otherwise);
    builder_.SetInsertPoint(then);
  }

  llvm::Function& result_;
  llvm::Function* const tile_;  // null: each thread does one result
  const Kernel& kernel_;
  const Tile threads_;
  llvm::Module& module_;
  llvm::IRBuilder<> builder_;
  llvm::Function* function_ = nullptr;
  llvm::Value* flags_ = nullptr;
  llvm::Value* extent_[kMaxGridDims] = {};
};

}  // namespace

std::expected<std::unique_ptr<llvm::Module>, std::string> MakeKernel(llvm::Function& chunk, KernelPlan& plan,
                                                                     std::span<const Reduction> reductions, Analyses& analyses) {
  auto result = MakeResultFunction(chunk, plan, reductions, analyses);
  if (!result) return std::unexpected(result.error());
  Kernel& kernel = plan.kernel;
  const TileFunction tile = MakeTileFunction(*result->function, kernel);
  kernel.rows = static_cast<uint8_t>(tile.shape.rows);
  kernel.columns = static_cast<uint8_t>(tile.shape.columns);
  if (!KernelBuilder(*result->function, tile.function, kernel).Build()) return std::unexpected("its threads are not functions");
  return std::move(result->module);
}

}  // namespace tracelift::jit

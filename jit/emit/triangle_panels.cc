#include "jit/emit/triangle_panels.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <llvm/Transforms/Utils/Local.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include "jit/emit/pass_groups.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };

// How often the loop goes round in the first pass, if it does so once more in each pass; else null. Loops that run until a pointer meets its bound have a quotient for a count, {bytes, +, size} / size, which is linear,
// too: evaluating the footprint rules out that the bytes wrap.
const llvm::SCEV* FirstTripsOf(llvm::Loop& loop, llvm::Loop& region, llvm::ScalarEvolution& evolution, Growth growth) {
  llvm::BasicBlock* ending = EndingBlockOf(loop, region);
  if (&loop == &region || !ending || !loop.getLoopPreheader() || !region.getLoopPreheader()) return nullptr;
  const llvm::SCEV* taken = evolution.getExitCount(&loop, ending);
  // max(0, pass): the first passes may be equally long.
  const auto* larger = llvm::dyn_cast<llvm::SCEVSMaxExpr>(taken);
  const llvm::SCEV* least = nullptr;
  if (growth == Growth::kByOneAtMost && larger && larger->getNumOperands() == 2 && llvm::isa<llvm::SCEVConstant>(larger->getOperand(0))) {
    least = larger->getOperand(0);
    taken = larger->getOperand(1);
  }
  const auto* quotient = llvm::dyn_cast<llvm::SCEVUDivExpr>(taken);
  const auto* divisor = quotient ? llvm::dyn_cast<llvm::SCEVConstant>(quotient->getRHS()) : nullptr;
  if (quotient && !divisor) return nullptr;
  const auto* trips = llvm::dyn_cast<llvm::SCEVAddRecExpr>(quotient ? quotient->getLHS() : taken);
  if (!trips || trips->getLoop() != &region || !trips->isAffine() || trips->getType()->getIntegerBitWidth() > 64)
    return nullptr;
  const auto* step = llvm::dyn_cast<llvm::SCEVConstant>(trips->getStepRecurrence(evolution));
  if (!step) return nullptr;
  const llvm::APInt one = divisor ? divisor->getAPInt() : llvm::APInt(step->getAPInt().getBitWidth(), 1);
  const llvm::SCEV* first = divisor ? evolution.getUDivExpr(trips->getStart(), divisor) : trips->getStart();
  if (least) first = evolution.getSMaxExpr(least, first);
  llvm::SCEVExpander expander(evolution, region.getHeader()->getModule()->getDataLayout(), "length");
  const bool is_known = expander.isSafeToExpandAt(first, region.getLoopPreheader()->getTerminator());
  return step->getAPInt() == one && is_known ? first : nullptr;
}

}  // namespace

bool Grows(llvm::Loop& loop, llvm::Loop& region, llvm::ScalarEvolution& evolution, Growth growth) {
  return FirstTripsOf(loop, region, evolution, growth) != nullptr;
}

llvm::Function* MakeLengthFunction(llvm::Function& function, const llvm::BasicBlock* header, Analyses& analyses, Growth growth) {
  llvm::LLVMContext& context = function.getContext();
  llvm::Type* i64 = llvm::Type::getInt64Ty(context);
  auto* type = llvm::FunctionType::get(i64, function.getFunctionType()->params(), false);
  auto* clone = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, function.getName() + ".length",
                                       function.getParent());
  llvm::ValueToValueMapTy map;
  for (llvm::Argument& argument : function.args()) map[&argument] = clone->getArg(argument.getArgNo());
  llvm::SmallVector<llvm::ReturnInst*, 4> returns;
  llvm::CloneFunctionInto(clone, &function, map, llvm::CloneFunctionChangeType::LocalChangesOnly, returns);
  clone->setLinkage(llvm::GlobalValue::InternalLinkage);
  for (llvm::ReturnInst* end : returns) {
    llvm::IRBuilder<>(end).CreateRet(llvm::Constant::getAllOnesValue(i64));
    end->eraseFromParent();
  }
  analyses.function.clear();
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(*clone);
  auto& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(*clone);
  llvm::Loop* loop = loops.getLoopFor(llvm::cast<llvm::BasicBlock>(map[header]));
  llvm::Loop& region = *loop->getOutermostLoop();
  llvm::BasicBlock* ahead = region.getLoopPreheader();
  llvm::SCEVExpander expander(evolution, clone->getParent()->getDataLayout(), "length");
  const llvm::SCEV* taken = FirstTripsOf(*loop, region, evolution, growth);
  llvm::Value* trips = expander.expandCodeFor(taken, taken->getType(), ahead->getTerminator());
  expander.clear();
  llvm::IRBuilder<> builder(ahead->getTerminator());
  builder.CreateRet(builder.CreateAdd(builder.CreateZExt(trips, i64), builder.getInt64(1)));
  ahead->getTerminator()->eraseFromParent();
  llvm::removeUnreachableBlocks(*clone);
  analyses.function.clear();
  return clone;
}

namespace {

// Of each panel, the passes of a chunk that have some of it: first those along the diagonal, then groups of whole ones.
class Dispatcher {
 public:
  Dispatcher(llvm::Function& function, const TriangleCode& code, llvm::IRBuilder<>& builder, llvm::Value* passes)
      : function_(function), code_(code), builder_(builder), passes_(passes) {}

  // Leaves the builder behind all panels.
  void Run(llvm::Value* out) {
    llvm::Value* none = builder_.getInt64(0);
    llvm::Value* length = builder_.CreateCall(
        code_.length, {function_.getArg(kIn), out, function_.getArg(kFirst), passes_, function_.getArg(kFlags)});
    llvm::BasicBlock *before = Block("triangle"), *unlike = Block("unlike"), *panels = Block("panels"),
                     *after = Block("after");
    builder_.CreateCondBr(builder_.CreateICmpSLT(length, none), unlike, before);
    builder_.SetInsertPoint(unlike);  // which the single passes find, too, and say
    builder_.CreateCall(code_.single,
                        {function_.getArg(kIn), out, function_.getArg(kFirst), passes_, function_.getArg(kFlags)});
    builder_.CreateBr(after);
    builder_.SetInsertPoint(before);
    llvm::Value* columns = builder_.CreateSub(builder_.CreateAdd(length, passes_), builder_.getInt64(1));
    builder_.CreateBr(panels);
    builder_.SetInsertPoint(panels);
    llvm::PHINode* from = builder_.CreatePHI(builder_.getInt64Ty(), 2);
    from->addIncoming(none, before);
    RunPanel(from, length);
    llvm::Value* next = builder_.CreateAdd(from, Width(), "", /*HasNUW=*/true, /*HasNSW=*/true);
    from->addIncoming(next, builder_.GetInsertBlock());
    builder_.CreateCondBr(builder_.CreateICmpSLT(next, columns), panels, after);
    builder_.SetInsertPoint(after);
  }

 private:
  // Pass p has the columns below length + p.
  void RunPanel(llvm::Value* from, llvm::Value* length) {
    llvm::Value* end = builder_.CreateAdd(from, Width());
    llvm::Value* touched = Within(builder_.CreateAdd(builder_.CreateSub(from, length), builder_.getInt64(1)));
    llvm::Value* full = Within(builder_.CreateSub(end, length));
    llvm::Value* grouped = WholeGroups(builder_.CreateSub(passes_, full));
    llvm::Value* begin = builder_.CreateSub(passes_, grouped);
    Call(*code_.partly, touched, builder_.CreateSub(begin, touched), from);
    Call(*code_.panel, begin, grouped, from);
  }

  void Call(llvm::Function& code, llvm::Value* begin, llvm::Value* count, llvm::Value* from) {
    llvm::BasicBlock *call = Block("run"), *after = Block("ran");
    builder_.CreateCondBr(builder_.CreateICmpSGT(count, builder_.getInt64(0)), call, after);
    builder_.SetInsertPoint(call);
    llvm::Value* no_state = llvm::ConstantPointerNull::get(builder_.getPtrTy());
    llvm::Value* first = builder_.CreateAdd(function_.getArg(kFirst), begin);
    builder_.CreateCall(&code, {function_.getArg(kIn), no_state, first, count, function_.getArg(kFlags), from});
    builder_.CreateBr(after);
    builder_.SetInsertPoint(after);
  }

  llvm::BasicBlock* Block(const char* name) {
    return llvm::BasicBlock::Create(function_.getContext(), name, &function_);
  }
  llvm::Value* Width() { return builder_.getInt64(static_cast<uint64_t>(code_.width)); }
  llvm::Value* WholeGroups(llvm::Value* passes) {
    return builder_.CreateAnd(passes, builder_.getInt64(~uint64_t(code_.group - 1)));
  }
  llvm::Value* Within(llvm::Value* pass) {
    llvm::Value* least = builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, pass, builder_.getInt64(0));
    return builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, least, passes_);
  }

  llvm::Function& function_;
  const TriangleCode& code_;
  llvm::IRBuilder<>& builder_;
  llvm::Value* passes_;
};

}  // namespace

void DispatchTriangle(llvm::Function& function, const TriangleCode& code) {
  DispatchGroups(function, *code.single, code.group, GroupState::kNotLeft,
                 [&](llvm::IRBuilder<>& builder, llvm::Value* passes, llvm::Value* out) {
                   Dispatcher(function, code, builder, passes).Run(out);
                 });
}

}  // namespace tracelift::jit

#include "jit/emit/pass_groups.h"

#include <llvm/Transforms/Scalar/ADCE.h>
#include <llvm/Transforms/Utils/Cloning.h>

namespace tracelift::jit {

namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };

// How many of the passes asked for run in whole groups.
llvm::Value* WholeGroups(llvm::IRBuilder<>& builder, llvm::Function& function, int size, GroupState state) {
  llvm::Value* passes = function.getArg(kCount);
  if (state == GroupState::kNotLeft) {  // the last pass is a single one where its state is asked for
    llvm::Value* asked =
        builder.CreateAnd(builder.CreateIsNotNull(function.getArg(kOut)), builder.CreateIsNotNull(passes));
    passes = builder.CreateSub(passes, builder.CreateZExt(asked, builder.getInt64Ty()));
  }
  return builder.CreateAnd(passes, builder.getInt64(~uint64_t(size - 1)));
}

}  // namespace

llvm::Function* CloneAs(llvm::Function& function, const char* suffix) {
  llvm::ValueToValueMapTy map;
  llvm::Function* clone = llvm::CloneFunction(&function, map);
  clone->setName(function.getName() + suffix);
  clone->setLinkage(llvm::GlobalValue::InternalLinkage);
  return clone;
}

void DispatchGroups(llvm::Function& function, llvm::Function& single, int size, GroupState state,
                    RunGroups run_groups) {
  function.deleteBody();
  function.setLinkage(llvm::GlobalValue::ExternalLinkage);
  llvm::LLVMContext& context = function.getContext();
  const auto block = [&](const char* name) { return llvm::BasicBlock::Create(context, name, &function); };
  llvm::BasicBlock *entry = block("entry"), *groups = block("groups"), *rest = block("rest"), *more = block("more"),
                   *end = block("end");
  llvm::IRBuilder<> builder(entry);
  llvm::Value* count = function.getArg(kCount);
  llvm::Value* out = function.getArg(kOut);
  llvm::Value* no_state = llvm::ConstantPointerNull::get(builder.getPtrTy());
  llvm::Value* whole = WholeGroups(builder, function, size, state);
  llvm::Value* left = builder.CreateSub(count, whole);
  llvm::Value* nothing_left = builder.CreateICmpEQ(left, builder.getInt64(0));
  builder.CreateCondBr(builder.CreateICmpNE(whole, builder.getInt64(0)), groups, rest);
  builder.SetInsertPoint(groups);
  llvm::Value* group_out = state == GroupState::kLeft ? builder.CreateSelect(nothing_left, out, no_state) : no_state;
  run_groups(builder, whole, group_out);
  builder.CreateBr(rest);
  builder.SetInsertPoint(rest);
  // A call for no passes at all asks for the state (Artifact::can_seek).
  builder.CreateCondBr(builder.CreateAnd(nothing_left, builder.CreateICmpNE(count, builder.getInt64(0))), end, more);
  builder.SetInsertPoint(more);
  builder.CreateCall(&single, {function.getArg(kIn), out, builder.CreateAdd(function.getArg(kFirst), whole), left,
                               function.getArg(kFlags)});
  builder.CreateBr(end);
  builder.SetInsertPoint(end);
  builder.CreateRet(llvm::Constant::getNullValue(function.getReturnType()));
}

void DispatchGroups(llvm::Function& function, llvm::Function& grouped, llvm::Function& single, int size,
                    GroupState state) {
  DispatchGroups(function, single, size, state, [&](llvm::IRBuilder<>& builder, llvm::Value* passes, llvm::Value* out) {
    builder.CreateCall(&grouped, {function.getArg(kIn), out, function.getArg(kFirst), passes, function.getArg(kFlags)});
  });
}

llvm::Loop* RegionLoopOf(llvm::Function& function, Analyses& analyses) {
  analyses.function.clear();
  llvm::ADCEPass().run(function, analyses.function);  // the exit tests and counters that were replaced
  analyses.function.clear();
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  return std::distance(loops.begin(), loops.end()) == 1 ? *loops.begin() : nullptr;
}

}  // namespace tracelift::jit

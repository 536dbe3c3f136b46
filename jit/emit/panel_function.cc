#include "jit/emit/panel_function.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Scalar/ADCE.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <llvm/Transforms/Utils/LCSSA.h>
#include <llvm/Transforms/Utils/Local.h>
#include <llvm/Transforms/Utils/LoopUtils.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include "jit/emit/lane_code.h"
#include "jit/emit/loop_hints.h"
#include "jit/emit/triangle_panels.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut };

// A copy of `function` with one more argument, the first iteration of the panel.
llvm::Function* CloneWithFrom(llvm::Function& function, const char* suffix, llvm::ValueToValueMapTy& map) {
  std::vector<llvm::Type*> types(function.getFunctionType()->params());
  types.push_back(llvm::Type::getInt64Ty(function.getContext()));
  auto* type = llvm::FunctionType::get(function.getReturnType(), types, false);
  auto* clone = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, function.getName() + suffix,
                                       function.getParent());
  for (llvm::Argument& argument : function.args()) map[&argument] = clone->getArg(argument.getArgNo());
  llvm::SmallVector<llvm::ReturnInst*, 4> returns;
  llvm::CloneFunctionInto(clone, &function, map, llvm::CloneFunctionChangeType::LocalChangesOnly, returns);
  clone->setLinkage(llvm::GlobalValue::InternalLinkage);  // as its model has another one
  return clone;
}

}  // namespace

void CountUpTo(llvm::Loop& loop, llvm::Value* count, llvm::BasicBlock* exit, llvm::IRBuilder<>& builder) {
  llvm::BasicBlock *header = loop.getHeader(), *preheader = loop.getLoopPreheader(), *latch = loop.getLoopLatch();
  builder.SetInsertPoint(header, header->begin());
  llvm::PHINode* done = builder.CreatePHI(builder.getInt64Ty(), 2);
  llvm::Instruction* end = latch->getTerminator();
  builder.SetInsertPoint(end);
  llvm::Value* next = builder.CreateAdd(done, builder.getInt64(1), "", /*HasNUW=*/true, /*HasNSW=*/true);
  done->addIncoming(builder.getInt64(0), preheader);
  done->addIncoming(next, latch);
  builder.CreateCondBr(builder.CreateICmpEQ(next, count), exit, header);
  end->eraseFromParent();
}

void StartAt(llvm::Loop& loop, llvm::Value* from, llvm::ScalarEvolution& evolution) {
  llvm::BasicBlock *header = loop.getHeader(), *preheader = loop.getLoopPreheader();
  llvm::SCEVExpander expander(evolution, header->getModule()->getDataLayout(), "start");
  llvm::IRBuilder<> builder(preheader->getTerminator());
  std::vector<std::pair<llvm::PHINode*, llvm::Value*>> starts;
  for (llvm::PHINode& phi : header->phis()) {
    const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(&phi));
    if (!recurrence || recurrence->getLoop() != &loop || !recurrence->isAffine()) continue;
    const llvm::SCEV* step = recurrence->getStepRecurrence(evolution);
    llvm::Value* by = expander.expandCodeFor(step, step->getType(), preheader->getTerminator());
    builder.SetInsertPoint(preheader->getTerminator());
    by = builder.CreateMul(by, builder.CreateZExtOrTrunc(from, by->getType()));
    llvm::Value* start = phi.getIncomingValueForBlock(preheader);
    const bool is_pointer = phi.getType()->isPointerTy();
    starts.emplace_back(&phi, is_pointer ? builder.CreateGEP(builder.getInt8Ty(), start, by) : builder.CreateAdd(start, by));
  }
  expander.clear();
  for (const auto& [phi, start] : starts) phi->setIncomingValueForBlock(preheader, start);
  evolution.forgetLoop(&loop);
}

void KeepLoopsWhole(llvm::Function& panel, Analyses& analyses) {
  for (llvm::Loop* loop : analyses.function.getResult<llvm::LoopAnalysis>(panel).getLoopsInPreorder()) {
    if (loop->isInnermost()) KeepWhole(*loop);
  }
}

PanelFunction::PanelFunction(llvm::Function& function, const std::vector<llvm::BasicBlock*>& headers, const char* suffix,
                             Analyses& analyses)
    : analyses_(analyses) {
  clone_ = CloneWithFrom(function, suffix, map_);
  for (llvm::BasicBlock* header : headers) headers_.push_back(llvm::cast<llvm::BasicBlock>(map_[header]));
  LeaveNoState();
}

bool PanelFunction::CanWiden(bool grows) {
  llvm::IRBuilder<> builder(clone_->getContext());
  return llvm::all_of(headers_, [&](llvm::BasicBlock* header) {
    const Analysed now = Analyse(header);
    if (now.loop && jit::Grows(*now.loop, *now.loop->getOutermostLoop(), now.evolution) != grows) return false;
    if (!now.loop || now.loop->getHeader() != header || !HasOneEnd(*now.loop, *now.loop->getOutermostLoop())) return false;
    const std::optional<LaneValues> values = LaneValues::Of(*now.loop, now.loops, now.evolution);
    return values && !values->IsLinear(now.loop) && !HasKeptValues(*now.loop, *values) &&
           LaneCode(*values, *now.loop, 1, builder).CanEmit();
  });
}

void PanelFunction::Widen(unsigned width) {
  for (llvm::BasicBlock* header : headers_) {
    const Analysed now = Analyse(header);
    const std::optional<LaneValues> values = LaneValues::Of(*now.loop, now.loops, now.evolution);
    llvm::Type* count = llvm::Type::getInt64Ty(clone_->getContext());
    ReplaceByWideLoop(*now.loop, now.loops, *values, width, From(),
                      llvm::ConstantInt::get(count, width));
  }
  analyses_.function.clear();
}

bool PanelFunction::CanRestrict() {
  return llvm::all_of(headers_, [&](llvm::BasicBlock* header) {
    const Analysed now = Analyse(header);
    if (!now.loop || now.loop->getHeader() != header || !HasOneEnd(*now.loop, *now.loop->getOutermostLoop())) return false;
    const llvm::SCEV* taken = now.evolution.getExitCount(now.loop, now.loop->getLoopLatch());
    if (llvm::isa<llvm::SCEVCouldNotCompute>(taken)) return false;
    const llvm::SCEVExpander expander(now.evolution, clone_->getParent()->getDataLayout(), "part");
    return expander.isSafeToExpandAt(taken, now.loop->getLoopPreheader()->getTerminator());
  });
}

void PanelFunction::RestrictToPart(int64_t width) {
  llvm::Value* from = From();
  for (llvm::BasicBlock* header : headers_) {
    const Analysed now = Analyse(header);
    llvm::BasicBlock *before = now.loop->getLoopPreheader(), *exit = EndOf(*now.loop);
    const llvm::SCEV* taken = now.evolution.getExitCount(now.loop, now.loop->getLoopLatch());
    llvm::SCEVExpander expander(now.evolution, clone_->getParent()->getDataLayout(), "part");
    llvm::Value* last = expander.expandCodeFor(taken, taken->getType(), before->getTerminator());
    expander.clear();
    llvm::IRBuilder<> builder(before->getTerminator());
    llvm::Value* zero = builder.getInt64(0);
    llvm::Value* all = builder.CreateAdd(builder.CreateZExt(last, builder.getInt64Ty()), builder.getInt64(1));
    llvm::Value* behind = builder.CreateAdd(from, builder.getInt64(static_cast<uint64_t>(width)));
    behind = builder.CreateBinaryIntrinsic(llvm::Intrinsic::smin, behind, all);
    llvm::Value* left = builder.CreateSub(behind, from);
    llvm::Value* count = width == 1 ? builder.getInt64(1) : left;
    StartAt(*now.loop, from, now.evolution);
    CountUpTo(*now.loop, count, exit, builder);
    // Some passes have nothing of it.
    llvm::BasicBlock* enter = llvm::BasicBlock::Create(clone_->getContext(), "part", clone_, header);
    before->getTerminator()->eraseFromParent();
    builder.SetInsertPoint(before);
    builder.CreateCondBr(builder.CreateICmpSGT(left, zero), enter, exit);
    builder.SetInsertPoint(enter);
    builder.CreateBr(header);
    header->replacePhiUsesWith(before, enter);
    for (llvm::PHINode& phi : exit->phis()) phi.addIncoming(llvm::PoisonValue::get(phi.getType()), before);
  }
  analyses_.function.clear();
}

void PanelFunction::Restrict(int64_t count) {
  for (llvm::BasicBlock* header : headers_) {
    const Analysed now = Analyse(header);
    StartAt(*now.loop, From(), now.evolution);
    llvm::IRBuilder<> builder(clone_->getContext());
    CountUpTo(*now.loop, builder.getInt64(static_cast<uint64_t>(count)), EndOf(*now.loop), builder);
  }
  analyses_.function.clear();
}

// Whoever runs a part does not ask for it; without it, much of what a pass computes has no use.
void PanelFunction::LeaveNoState() {
  llvm::Argument* out = clone_->getArg(kOut);
  out->replaceAllUsesWith(llvm::ConstantPointerNull::get(llvm::cast<llvm::PointerType>(out->getType())));
  for (llvm::BasicBlock& block : *clone_) {
    llvm::SimplifyInstructionsInBlock(&block);
    llvm::ConstantFoldTerminator(&block, /*DeleteDeadConditions=*/true);
  }
  llvm::removeUnreachableBlocks(*clone_);
  analyses_.function.clear();
  llvm::ADCEPass().run(*clone_, analyses_.function);
  analyses_.function.clear();
  llvm::LoopInfo& loops = analyses_.function.getResult<llvm::LoopAnalysis>(*clone_);
  const auto& dominators = analyses_.function.getResult<llvm::DominatorTreeAnalysis>(*clone_);
  for (llvm::Loop* loop : loops) llvm::formLCSSARecursively(*loop, dominators, &loops, nullptr);
  analyses_.function.clear();
}

PanelFunction::Analysed PanelFunction::Analyse(llvm::BasicBlock* header) {
  analyses_.function.clear();
  llvm::LoopInfo& loops = analyses_.function.getResult<llvm::LoopAnalysis>(*clone_);
  return {loops.getLoopFor(header), loops, analyses_.function.getResult<llvm::ScalarEvolutionAnalysis>(*clone_)};
}

}  // namespace tracelift::jit

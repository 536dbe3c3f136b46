#include "jit/emit/pass_panels.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/Transforms/Scalar/ADCE.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <llvm/Transforms/Utils/LCSSA.h>
#include <llvm/Transforms/Utils/Local.h>
#include <llvm/Transforms/Utils/LoopUtils.h>

#include <algorithm>

#include "jit/emit/jam_passes.h"
#include "jit/emit/lane_code.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags, kFrom };
constexpr int64_t kFewestPanels = 4;

// How often a loop runs when that is known now, else 0.
int64_t LengthOf(llvm::Loop& loop, llvm::ScalarEvolution& evolution) {
  if (!loop.getLoopLatch()) return 0;
  const auto* taken = llvm::dyn_cast<llvm::SCEVConstant>(evolution.getExitCount(&loop, loop.getLoopLatch()));
  constexpr int64_t kMost = int64_t{1} << 31;
  return taken && taken->getAPInt().ult(kMost) ? static_cast<int64_t>(taken->getAPInt().getZExtValue()) + 1 : 0;
}

bool StoresToMemory(const llvm::Instruction& instruction) {
  const auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
  return store ? !llvm::isa<llvm::AllocaInst>(store->getPointerOperand()) : instruction.mayWriteToMemory();
}

class Panels {
 public:
  Panels(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution, int vector_bits)
      : region_(region), loops_(loops), evolution_(evolution), vector_bits_(vector_bits) {}

  // The loops that are cut together with `loop`: all of its length that store something. Empty when some store lies elsewhere.
  std::vector<llvm::Loop*> LoopsWith(llvm::Loop& loop, int64_t length) const {
    std::vector<llvm::Loop*> cut{&loop};
    for (llvm::BasicBlock* block : region_.blocks()) {
      for (llvm::Instruction& instruction : *block) {
        if (!StoresToMemory(instruction)) continue;
        llvm::Loop* around = loops_.getLoopFor(block);
        while (around != &region_ && std::ranges::find(cut, around) == cut.end() && LengthOf(*around, evolution_) != length) {
          around = around->getParentLoop();
        }
        if (around == &region_) return {};
        if (std::ranges::find(cut, around) == cut.end()) cut.push_back(around);
      }
    }
    for (const llvm::Loop* a : cut) {
      for (const llvm::Loop* b : cut) {
        if (a != b && a->contains(b)) return {};
      }
    }
    return cut;
  }

  // Iterations side by side, so that two vectors of each result fill the arithmetic units; 0 when a loop cannot be cut.
  unsigned WidthOf(const std::vector<llvm::Loop*>& cut) const {
    unsigned widest = 0;
    for (llvm::Loop* loop : cut) {
      if (!HasOneEnd(*loop, region_) || !EndOf(*loop)->phis().empty()) return 0;
      const std::optional<LaneValues> values = LaneValues::Of(*loop, loops_, evolution_);
      llvm::IRBuilder<> builder(region_.getHeader()->getContext());
      if (!values || values->IsLinear(loop) || HasKeptValues(*loop, *values) || !LaneCode(*values, *loop, 1, builder).CanEmit()) return 0;
      for (llvm::BasicBlock* block : loop->blocks()) {
        for (llvm::Instruction& instruction : *block) {
          const llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction);
          if (!pointer || llvm::isa<llvm::AllocaInst>(pointer)) continue;
          llvm::Type* type = llvm::getLoadStoreType(&instruction);
          if (!type->isFloatTy() && !type->isDoubleTy()) return 0;
          const LaneValue address = values->Of(pointer);
          const auto bytes = static_cast<int64_t>(type->getPrimitiveSizeInBits() / 8);
          const bool in_a_row = address.kind == LaneKind::kAffine && address.stride == bytes;
          if (!in_a_row && address.kind != LaneKind::kUniform) return 0;
          if (in_a_row) widest = std::max(widest, static_cast<unsigned>(type->getPrimitiveSizeInBits()));
        }
      }
    }
    return widest == 0 ? 0 : 2 * static_cast<unsigned>(vector_bits_) / widest;
  }

 private:
  llvm::Loop& region_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  int vector_bits_;
};

// A copy of `function` with one more argument, the first iteration of the panel.
llvm::Function* CloneWithFrom(llvm::Function& function, const char* suffix, llvm::ValueToValueMapTy& map) {
  std::vector<llvm::Type*> types(function.getFunctionType()->params());
  types.push_back(llvm::Type::getInt64Ty(function.getContext()));
  auto* type = llvm::FunctionType::get(function.getReturnType(), types, false);
  auto* clone = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, function.getName() + suffix, function.getParent());
  for (llvm::Argument& argument : function.args()) map[&argument] = clone->getArg(argument.getArgNo());
  llvm::SmallVector<llvm::ReturnInst*, 4> returns;
  llvm::CloneFunctionInto(clone, &function, map, llvm::CloneFunctionChangeType::LocalChangesOnly, returns);
  clone->setLinkage(llvm::GlobalValue::InternalLinkage);  // as its model has another one
  return clone;
}

class PanelFunction {
 public:
  PanelFunction(llvm::Function& function, const std::vector<llvm::Loop*>& cut, const char* suffix, Analyses& analyses)
      : analyses_(analyses) {
    llvm::ValueToValueMapTy map;
    clone_ = CloneWithFrom(function, suffix, map);
    for (const llvm::Loop* loop : cut) headers_.push_back(llvm::cast<llvm::BasicBlock>(map[loop->getHeader()]));
  }

  // Each cut loop does `width` iterations at once, from the panel's first on.
  void Widen(unsigned width) {
    for (llvm::BasicBlock* header : headers_) {
      const Analysed now = Analyse(header);
      const std::optional<LaneValues> values = LaneValues::Of(*now.loop, now.loops, now.evolution);
      llvm::BasicBlock *preheader = now.loop->getLoopPreheader(), *exit = EndOf(*now.loop);
      llvm::BasicBlock* entry = llvm::BasicBlock::Create(clone_->getContext(), "panel", clone_);
      preheader->getTerminator()->replaceSuccessorWith(header, entry);
      llvm::IRBuilder<> builder(clone_->getContext());
      EmitWideLoop(*now.loop, now.loops, *values, width, {entry, preheader, clone_->getArg(kFrom)}, builder.getInt64(width), builder);
      builder.CreateBr(exit);
      for (llvm::PHINode& phi : header->phis()) {
        phi.setIncomingValueForBlock(preheader, llvm::PoisonValue::get(phi.getType()));
      }
      header->removePredecessor(preheader, /*KeepOneInputPHIs=*/true);
      llvm::removeUnreachableBlocks(*clone_);
    }
    analyses_.function.clear();
  }

  // Each cut loop does `count` iterations one by one, from the panel's first on.
  void Restrict(int64_t count) {
    for (llvm::BasicBlock* header : headers_) {
      const Analysed now = Analyse(header);
      const std::optional<LaneValues> values = LaneValues::Of(*now.loop, now.loops, now.evolution);
      llvm::BasicBlock *preheader = now.loop->getLoopPreheader(), *latch = now.loop->getLoopLatch(), *exit = EndOf(*now.loop);
      llvm::IRBuilder<> builder(preheader->getTerminator());
      for (llvm::PHINode& phi : header->phis()) {
        llvm::Value* start = phi.getIncomingValueForBlock(preheader);
        phi.setIncomingValueForBlock(preheader, Further(start, values->Of(&phi).stride, clone_->getArg(kFrom), builder));
      }
      builder.SetInsertPoint(header, header->begin());
      llvm::PHINode* done = builder.CreatePHI(builder.getInt64Ty(), 2);
      llvm::Instruction* end = latch->getTerminator();
      builder.SetInsertPoint(end);
      llvm::Value* next = builder.CreateAdd(done, builder.getInt64(1), "", /*HasNUW=*/true, /*HasNSW=*/true);
      done->addIncoming(builder.getInt64(0), preheader);
      done->addIncoming(next, latch);
      builder.CreateCondBr(builder.CreateICmpEQ(next, builder.getInt64(static_cast<uint64_t>(count))), exit, header);
      end->eraseFromParent();
    }
    analyses_.function.clear();
  }

  llvm::Function& function() { return *clone_; }

 private:
  struct Analysed {
    llvm::Loop* loop;
    llvm::LoopInfo& loops;
    llvm::ScalarEvolution& evolution;
  };
  Analysed Analyse(llvm::BasicBlock* header) {
    analyses_.function.clear();
    llvm::LoopInfo& loops = analyses_.function.getResult<llvm::LoopAnalysis>(*clone_);
    return {loops.getLoopFor(header), loops, analyses_.function.getResult<llvm::ScalarEvolutionAnalysis>(*clone_)};
  }

  Analyses& analyses_;
  llvm::Function* clone_ = nullptr;
  std::vector<llvm::BasicBlock*> headers_;
};

// All passes of the chunk in one panel after the other, then what is no whole group, and the last when its state is asked for.
void DispatchPanels(llvm::Function& function, llvm::Function& panel, llvm::Function* rest, llvm::Function& single, int group,
                    int64_t length, int64_t width) {
  function.deleteBody();
  function.setLinkage(llvm::GlobalValue::ExternalLinkage);
  llvm::LLVMContext& context = function.getContext();
  const auto block = [&](const char* name) { return llvm::BasicBlock::Create(context, name, &function); };
  llvm::BasicBlock *entry = block("entry"), *panels = block("panels"), *last = block("last"), *more = block("more"), *end = block("end");
  llvm::IRBuilder<> builder(entry);
  llvm::Value *count = function.getArg(kCount), *out = function.getArg(kOut), *first = function.getArg(kFirst);
  llvm::Value* whole = WholeGroups(builder, function, group, GroupState::kNotLeft);
  builder.CreateCondBr(builder.CreateIsNull(whole), last, panels);
  builder.SetInsertPoint(panels);
  llvm::Value* no_state = llvm::ConstantPointerNull::get(builder.getPtrTy());
  llvm::PHINode* from = builder.CreatePHI(builder.getInt64Ty(), 2);
  from->addIncoming(builder.getInt64(0), entry);
  builder.CreateCall(&panel, {function.getArg(kIn), no_state, first, whole, function.getArg(kFlags), from});
  llvm::Value* next = builder.CreateAdd(from, builder.getInt64(static_cast<uint64_t>(width)), "", /*HasNUW=*/true, /*HasNSW=*/true);
  from->addIncoming(next, panels);
  const int64_t whole_panels = length / width * width;
  llvm::BasicBlock* after = block("after");
  builder.CreateCondBr(builder.CreateICmpEQ(next, builder.getInt64(static_cast<uint64_t>(whole_panels))), after, panels);
  builder.SetInsertPoint(after);
  if (rest) {
    builder.CreateCall(rest, {function.getArg(kIn), no_state, first, whole, function.getArg(kFlags),
                              builder.getInt64(static_cast<uint64_t>(whole_panels))});
  }
  builder.CreateBr(last);
  builder.SetInsertPoint(last);
  llvm::Value* left = builder.CreateSub(count, whole);
  // A call for no passes at all asks for the state (Artifact::can_seek).
  llvm::Value* nothing = builder.CreateAnd(builder.CreateIsNull(left), builder.CreateIsNotNull(count));
  builder.CreateCondBr(nothing, end, more);
  builder.SetInsertPoint(more);
  builder.CreateCall(&single, {function.getArg(kIn), out, builder.CreateAdd(first, whole), left, function.getArg(kFlags)});
  builder.CreateBr(end);
  builder.SetInsertPoint(end);
  builder.CreateRet(llvm::Constant::getNullValue(function.getReturnType()));
}

}  // namespace

PassPanels CutIntoPanels(llvm::Function& function, Analyses& analyses, int vector_bits, MayCut may_cut) {
  analyses.function.clear();
  llvm::ADCEPass().run(function, analyses.function);
  analyses.function.clear();
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  if (std::distance(loops.begin(), loops.end()) != 1) return {};
  llvm::Loop& region = **loops.begin();
  if (!HasOneEnd(region, region)) return {};
  llvm::ScalarEvolution& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
  llvm::formLCSSARecursively(region, analyses.function.getResult<llvm::DominatorTreeAnalysis>(function), &loops, &evolution);
  const Panels panels(region, loops, evolution, vector_bits);
  for (llvm::Loop* loop : region.getLoopsInPreorder()) {
    const int64_t length = loop == &region ? 0 : LengthOf(*loop, evolution);
    if (length == 0) continue;
    const std::vector<llvm::Loop*> cut = panels.LoopsWith(*loop, length);
    const auto width = cut.empty() ? 0 : static_cast<int64_t>(panels.WidthOf(cut));
    // Something must be done over and over to a panel: a loop around a cut one, or inside.
    const bool reused = llvm::any_of(cut, [&](llvm::Loop* one) { return !one->isInnermost() || one->getParentLoop() != &region; });
    if (width == 0 || !reused || length < kFewestPanels * width) continue;
    PassPanels result{.width = static_cast<int>(width), .group = kJammedPasses, .headers = {}};
    for (llvm::Loop* one : cut) result.headers.push_back(one->getHeader());
    if (!may_cut(result.headers)) continue;
    PanelFunction panel(function, cut, ".panel", analyses);
    std::optional<PanelFunction> rest;
    if (length % width != 0) {
      rest.emplace(function, cut, ".rest", analyses);
      rest->Restrict(length % width);
    }
    llvm::Function* single = CloneAs(function, ".single");
    panel.Widen(static_cast<unsigned>(width));
    if (!JamInPlace(panel.function(), analyses)) result.group = 1;
    DispatchPanels(function, panel.function(), rest ? &rest->function() : nullptr, *single, result.group, length, width);
    analyses.function.clear();
    return result;
  }
  return {};
}

}  // namespace tracelift::jit

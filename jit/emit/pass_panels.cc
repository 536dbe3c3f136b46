#include "jit/emit/pass_panels.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <llvm/Transforms/Utils/LCSSA.h>
#include <llvm/Transforms/Utils/LoopUtils.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <algorithm>

#include "jit/emit/entry_facts.h"
#include "jit/emit/jam_passes.h"
#include "jit/emit/lane_code.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags, kFrom };
constexpr int64_t kFewestPanels = 4;

// The loop ends after `count` iterations, whatever ended it before.
void CountUpTo(llvm::Loop& loop, int64_t count, llvm::IRBuilder<>& builder) {
  llvm::BasicBlock *header = loop.getHeader(), *preheader = loop.getLoopPreheader(), *latch = loop.getLoopLatch(),
                   *exit = EndOf(loop);
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

bool StoresToMemory(const llvm::Instruction& instruction) {
  return llvm::isa<llvm::StoreInst>(instruction) ||
         (llvm::isa<llvm::IntrinsicInst>(instruction) && instruction.mayWriteToMemory());
}

class Planner {
 public:
  Planner(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution, const SeenFootprint& seen,
          int vector_bits)
      : region_(region), loops_(loops), evolution_(evolution), seen_(seen), vector_bits_(vector_bits) {}

  // How often a loop runs in every pass, as seen; 0 when that is not one number.
  int64_t LengthOf(llvm::Loop& loop) const {
    if (&loop == &region_ || !loop.getLoopLatch() || !loop.getLoopPreheader()) return 0;
    const llvm::SCEV* taken = evolution_.getExitCount(&loop, loop.getLoopLatch());
    if (llvm::isa<llvm::SCEVCouldNotCompute>(taken) || !evolution_.isLoopInvariant(taken, &region_)) return 0;
    return seen_.LengthOf(loop.getHeader());
  }

  // The loops that are cut together with `loop`: all of its length that store something. Empty when some store lies
  // elsewhere.
  std::vector<llvm::Loop*> LoopsWith(llvm::Loop& loop, int64_t length) const {
    std::vector<llvm::Loop*> cut{&loop};
    for (llvm::BasicBlock* block : region_.blocks()) {
      if (llvm::none_of(*block, StoresToMemory)) continue;
      llvm::Loop* around = loops_.getLoopFor(block);
      while (around != &region_ && std::ranges::find(cut, around) == cut.end() && LengthOf(*around) != length) {
        around = around->getParentLoop();
      }
      if (around == &region_) return {};
      if (std::ranges::find(cut, around) == cut.end()) cut.push_back(around);
    }
    for (const llvm::Loop* a : cut) {
      for (const llvm::Loop* b : cut) {
        if (a != b && a->contains(b)) return {};
      }
    }
    return cut;
  }

  // Iterations side by side, so that two vectors of each result fill the arithmetic units; 0 when a loop cannot be cut.
  int WidthOf(const std::vector<llvm::Loop*>& cut) const {
    unsigned widest = 0;
    for (llvm::Loop* loop : cut) {
      if (!HasOneEnd(*loop, region_) || HandsOnValues(*loop)) return 0;
      const std::optional<LaneValues> values = LaneValues::Of(*loop, loops_, evolution_);
      llvm::IRBuilder<> builder(region_.getHeader()->getContext());
      if (!values || values->IsLinear(loop) || HasKeptValues(*loop, *values) ||
          !LaneCode(*values, *loop, 1, builder).CanEmit())
        return 0;
      for (llvm::BasicBlock* block : loop->blocks()) {
        for (llvm::Instruction& instruction : *block) {
          const llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction);
          if (!pointer) continue;
          llvm::Type* type = llvm::getLoadStoreType(&instruction);
          const auto bits = static_cast<unsigned>(type->getPrimitiveSizeInBits());
          if (type->isVectorTy() || (bits != 32 && bits != 64)) return 0;
          const LaneValue address = values->Of(pointer);
          const bool in_a_row = address.kind == LaneKind::kAffine && address.stride == bits / 8;
          if (!in_a_row && address.kind != LaneKind::kUniform) return 0;
          if (in_a_row) widest = std::max(widest, bits);
        }
      }
    }
    return widest == 0 ? 0 : 2 * vector_bits_ / static_cast<int>(widest);
  }

  // Counts the loop's iterations up to `length`, relying on that being its length.
  void FixLength(llvm::Loop& loop, int64_t length) {
    const llvm::SCEV* taken = evolution_.getExitCount(&loop, loop.getLoopLatch());
    if (llvm::isa<llvm::SCEVConstant>(taken)) return;
    llvm::Instruction* ahead = region_.getLoopPreheader()->getTerminator();
    llvm::SCEVExpander expander(evolution_, region_.getHeader()->getModule()->getDataLayout(), "length");
    llvm::Value* real = expander.expandCodeFor(taken, taken->getType(), ahead);
    expander.clear();
    llvm::IRBuilder<> builder(ahead);
    RelyOn(builder.CreateICmpEQ(real, llvm::ConstantInt::get(real->getType(), static_cast<uint64_t>(length - 1))),
           ahead);
    CountUpTo(loop, length, builder);
    evolution_.forgetLoop(&loop);
  }

  bool CanFix(llvm::Loop& loop) const {
    llvm::SCEVExpander expander(evolution_, region_.getHeader()->getModule()->getDataLayout(), "length");
    return expander.isSafeToExpandAt(evolution_.getExitCount(&loop, loop.getLoopLatch()),
                                     region_.getLoopPreheader()->getTerminator());
  }

 private:
  // To the rest of a pass; what only the state at the end gets is left to single passes.
  bool HandsOnValues(const llvm::Loop& loop) const {
    return llvm::any_of(loop.blocks(), [&](const llvm::BasicBlock* block) {
      return llvm::any_of(*block, [&](const llvm::Instruction& instruction) {
        return llvm::any_of(instruction.users(), [&](const llvm::User* user) {
          const auto* by = llvm::cast<llvm::Instruction>(user);
          return region_.contains(by) && !loop.contains(by);
        });
      });
    });
  }

  llvm::Loop& region_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  const SeenFootprint& seen_;
  int vector_bits_;
};

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

class PanelFunction {
 public:
  PanelFunction(llvm::Function& function, const std::vector<llvm::BasicBlock*>& headers, const char* suffix,
                Analyses& analyses)
      : analyses_(analyses) {
    llvm::ValueToValueMapTy map;
    clone_ = CloneWithFrom(function, suffix, map);
    for (llvm::BasicBlock* header : headers) headers_.push_back(llvm::cast<llvm::BasicBlock>(map[header]));
  }

  // Each cut loop does `width` iterations at once, from the panel's first on.
  void Widen(unsigned width) {
    for (llvm::BasicBlock* header : headers_) {
      const Analysed now = Analyse(header);
      const std::optional<LaneValues> values = LaneValues::Of(*now.loop, now.loops, now.evolution);
      llvm::Type* count = llvm::Type::getInt64Ty(clone_->getContext());
      ReplaceByWideLoop(*now.loop, now.loops, *values, width, clone_->getArg(kFrom),
                        llvm::ConstantInt::get(count, width));
    }
    analyses_.function.clear();
  }

  // Each cut loop does `count` iterations one by one, from the panel's first on.
  void Restrict(int64_t count) {
    for (llvm::BasicBlock* header : headers_) {
      const Analysed now = Analyse(header);
      const std::optional<LaneValues> values = LaneValues::Of(*now.loop, now.loops, now.evolution);
      llvm::BasicBlock* preheader = now.loop->getLoopPreheader();
      llvm::IRBuilder<> builder(preheader->getTerminator());
      for (llvm::PHINode& phi : header->phis()) {
        llvm::Value* start = phi.getIncomingValueForBlock(preheader);
        phi.setIncomingValueForBlock(preheader,
                                     Further(start, values->Of(&phi).stride, clone_->getArg(kFrom), builder));
      }
      CountUpTo(*now.loop, count, builder);
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

// All passes of the chunk in one panel after the other; `rest` does what is no whole panel, if anything.
void DispatchPanels(llvm::Function& function, llvm::Function& panel, llvm::Function* rest, llvm::Function& single,
                    int group, int64_t length, int64_t width) {
  const auto run = [&](llvm::IRBuilder<>& builder, llvm::Value* passes, llvm::Value* out) {
    const auto call = [&](llvm::Function& code, llvm::Value* from) {
      builder.CreateCall(&code,
                         {function.getArg(kIn), out, function.getArg(kFirst), passes, function.getArg(kFlags), from});
    };
    llvm::BasicBlock* before = builder.GetInsertBlock();
    llvm::BasicBlock* panels = llvm::BasicBlock::Create(function.getContext(), "panels", &function);
    llvm::BasicBlock* after = llvm::BasicBlock::Create(function.getContext(), "after", &function);
    builder.CreateBr(panels);
    builder.SetInsertPoint(panels);
    llvm::PHINode* from = builder.CreatePHI(builder.getInt64Ty(), 2);
    from->addIncoming(builder.getInt64(0), before);
    call(panel, from);
    llvm::Value* step = builder.getInt64(static_cast<uint64_t>(width));
    llvm::Value* next = builder.CreateAdd(from, step, "", /*HasNUW=*/true, /*HasNSW=*/true);
    from->addIncoming(next, panels);
    llvm::Value* whole = builder.getInt64(static_cast<uint64_t>(length / width * width));
    builder.CreateCondBr(builder.CreateICmpEQ(next, whole), after, panels);
    builder.SetInsertPoint(after);
    if (rest) call(*rest, whole);
  };
  DispatchGroups(function, single, group, GroupState::kNotLeft, run);
}

}  // namespace

PanelPlan PlanPanels(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution,
                     const SeenFootprint& seen, int vector_bits) {
  // The passes run once for each panel: what they carry must be counters, or matter at their end only.
  for (llvm::PHINode& phi : region.getHeader()->phis()) {
    if (!IsRecurrence(phi, &region, evolution) && !KeptValueOf(&phi, &region)) return {};
  }
  Planner planner(region, loops, evolution, seen, vector_bits);
  for (llvm::Loop* loop : region.getLoopsInPreorder()) {
    const int64_t length = planner.LengthOf(*loop);
    if (length == 0) continue;
    const std::vector<llvm::Loop*> cut = planner.LoopsWith(*loop, length);
    const int width = cut.empty() ? 0 : planner.WidthOf(cut);
    // Something must be done over and over to a panel: a loop around a cut one, or inside.
    const bool reused =
        llvm::any_of(cut, [&](llvm::Loop* one) { return !one->isInnermost() || one->getParentLoop() != &region; });
    if (width == 0 || !reused || length < kFewestPanels * width) continue;
    if (!llvm::all_of(cut, [&](llvm::Loop* one) { return planner.CanFix(*one); })) continue;
    PanelPlan plan{.width = width, .length = length, .headers = {}};
    for (llvm::Loop* one : cut) plan.headers.push_back(one->getHeader());
    if (!seen.MayCut(plan.headers)) continue;
    for (llvm::Loop* one : cut) planner.FixLength(*one, length);
    return plan;
  }
  return {};
}

int CutIntoPanels(llvm::Function& function, Analyses& analyses, const PanelPlan& plan) {
  llvm::Loop* outermost = RegionLoopOf(function, analyses);
  if (!outermost) return 0;
  llvm::Loop& region = *outermost;
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  llvm::ScalarEvolution& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
  llvm::formLCSSARecursively(region, analyses.function.getResult<llvm::DominatorTreeAnalysis>(function), &loops,
                             &evolution);
  // The chunk function's flags came in between.
  llvm::IRBuilder<> builder(function.getContext());
  for (llvm::BasicBlock* header : plan.headers) {
    llvm::Loop* loop = loops.getLoopFor(header);
    if (!loop || loop->getHeader() != header || !HasOneEnd(*loop, region)) return 0;
    const std::optional<LaneValues> values = LaneValues::Of(*loop, loops, evolution);
    if (!values || values->IsLinear(loop) || !LaneCode(*values, *loop, 1, builder).CanEmit()) return 0;
  }
  PanelFunction panel(function, plan.headers, ".panel", analyses);
  std::optional<PanelFunction> rest;
  if (plan.length % plan.width != 0) {
    rest.emplace(function, plan.headers, ".rest", analyses);
    rest->Restrict(plan.length % plan.width);
  }
  llvm::Function* single = CloneAs(function, ".single");
  panel.Widen(static_cast<unsigned>(plan.width));
  const int group = JamInPlace(panel.function(), analyses) ? kJammedPasses : 1;
  DispatchPanels(function, panel.function(), rest ? &rest->function() : nullptr, *single, group, plan.length,
                 plan.width);
  analyses.function.clear();
  return group;
}

}  // namespace tracelift::jit

#include "jit/emit/widen_loop.h"

#include <llvm/Analysis/LoopIterator.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Scalar/ADCE.h>
#include <llvm/Transforms/Utils/LCSSA.h>
#include <llvm/Transforms/Utils/Local.h>
#include <llvm/Transforms/Utils/LoopUtils.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include "jit/emit/lane_control.h"
#include "jit/emit/pass_groups.h"

#include <cmath>

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };

// Left through its latch, and else only for good: out of the chunk, with nothing to hand on.
bool HasOneEnd(const llvm::Loop& loop, const llvm::Loop& region) {
  if (!loop.getLoopPreheader() || !loop.getLoopLatch() || !loop.isLoopExiting(loop.getLoopLatch())) return false;
  llvm::SmallVector<llvm::Loop::Edge, 8> exits;
  loop.getExitEdges(exits);
  return llvm::all_of(exits, [&](const llvm::Loop::Edge& exit) {
    if (exit.first == loop.getLoopLatch()) return true;
    return !region.contains(exit.second) && exit.second->phis().empty();
  });
}

bool IsCounter(llvm::PHINode& phi, const llvm::Loop* loop, llvm::ScalarEvolution& evolution) {
  if (!evolution.isSCEVable(phi.getType())) return false;
  const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(&phi));
  return recurrence && recurrence->getLoop() == loop;
}

// LLVM vectorises innermost loops with one end and nothing but counters carried.
bool IsVectorisedAnyway(llvm::Loop* innermost, llvm::ScalarEvolution& evolution) {
  if (!innermost->getExitingBlock()) return false;
  return llvm::all_of(innermost->getHeader()->phis(), [&](llvm::PHINode& phi) { return IsCounter(phi, innermost, evolution); });
}

bool NeedsLanes(llvm::Loop& loop, llvm::ScalarEvolution& evolution) {
  return llvm::any_of(loop.getLoopsInPreorder(), [&](llvm::Loop* inner) {
    return inner->isInnermost() && !IsVectorisedAnyway(inner, evolution);
  });
}

struct Candidate {
  llvm::Loop* loop = nullptr;
  unsigned lanes = 0;
  double gain = 0;
};

// What an iteration costs alone and what it costs for all lanes, in instructions; inner loops count more.
Candidate Weigh(llvm::Loop& loop, const LaneValues& values, llvm::LoopInfo& loops, int vector_bits) {
  constexpr double kInnerTrips = 16, kLinearPenalty = 2;
  unsigned widest = 8;
  double alone = 0, together = 0;
  size_t in_innermost = 0;
  bool linear = false;
  for (llvm::BasicBlock* block : loop.blocks()) {
    llvm::Loop* in = loops.getLoopFor(block);
    const double weight = std::pow(kInnerTrips, in->getLoopDepth() - loop.getLoopDepth());
    linear |= values.IsLinear(in);
    for (llvm::Instruction& instruction : *block) {
      if (llvm::isa<llvm::PHINode>(instruction) || instruction.isTerminator()) continue;
      if (in->isInnermost()) ++in_innermost;
      llvm::Value* pointer = llvm::getPointerOperand(&instruction);
      llvm::Type* type = llvm::isa<llvm::StoreInst>(instruction) ? instruction.getOperand(0)->getType() : instruction.getType();
      double lanes_cost = 1;
      if (pointer && !llvm::isa<llvm::GetElementPtrInst>(instruction)) {
        if (llvm::isa<llvm::AllocaInst>(pointer)) continue;
        const LaneValue address = values.Of(pointer);
        const auto bytes = static_cast<int64_t>(loop.getHeader()->getModule()->getDataLayout().getTypeStoreSize(type));
        if (address.kind != LaneKind::kUniform && std::abs(address.stride) != bytes) lanes_cost = 6;
      } else if (values.Of(&instruction).kind != LaneKind::kVarying) {
        lanes_cost = 0.5;
      } else if (values.IsLinear(in)) {
        lanes_cost = kLinearPenalty;
      }
      const bool number = type->getScalarType()->isFloatingPointTy();
      if (number && values.Of(&instruction).kind == LaneKind::kVarying) widest = std::max(widest, type->getScalarSizeInBits());
      alone += weight;
      together += weight * lanes_cost;
    }
  }
  if (widest < 32) return {};  // integers: for now those that LLVM vectorises
  unsigned lanes = static_cast<unsigned>(vector_bits) / widest;
  constexpr size_t kFewInstructions = 24;
  if (!linear && in_innermost <= kFewInstructions) lanes *= 2;  // chains of additions overlap
  return {&loop, lanes, alone * lanes / together};
}

// The wide loop, from `entry` on, with what the loop gets from `preheader`: `passes` iterations, a multiple of the lanes. Ends in the block that is returned, without a
// terminator.
llvm::BasicBlock* EmitWideLoop(llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values, unsigned lanes,
                               llvm::BasicBlock* preheader, llvm::BasicBlock* entry, llvm::Value* passes, llvm::IRBuilder<>& builder) {
  llvm::Function& function = *entry->getParent();
  LaneCode code(values, loop, lanes, builder);
  llvm::Type* bits = llvm::FixedVectorType::get(builder.getInt1Ty(), lanes);
  std::vector<std::pair<llvm::AllocaInst*, llvm::AllocaInst*>> flags;
  for (llvm::Instruction& instruction : function.getEntryBlock()) {
    auto* flag = llvm::dyn_cast<llvm::AllocaInst>(&instruction);
    const bool used = flag && flag->getAllocatedType()->isIntegerTy(1) && llvm::any_of(flag->users(), [&](llvm::User* user) {
      return loop.contains(llvm::cast<llvm::Instruction>(user));
    });
    if (used) flags.emplace_back(flag, nullptr);
  }
  llvm::IRBuilder<> top(&function.getEntryBlock(), function.getEntryBlock().begin());
  builder.SetInsertPoint(entry);
  for (auto& [flag, own] : flags) {
    own = top.CreateAlloca(bits, nullptr, flag->getName() + ".lanes");
    builder.CreateStore(llvm::Constant::getNullValue(bits), own);
    code.SetFlag(flag, own);
  }
  llvm::BasicBlock* header = llvm::BasicBlock::Create(function.getContext(), "lanes", &function);
  builder.CreateBr(header);
  builder.SetInsertPoint(header);
  llvm::PHINode* done = builder.CreatePHI(builder.getInt64Ty(), 2, "done");
  done->addIncoming(builder.getInt64(0), entry);
  struct Counter {
    llvm::PHINode* copy;
    int64_t stride;
  };
  std::vector<Counter> counters;
  for (llvm::PHINode& phi : loop.getHeader()->phis()) {
    if (values.IsKept(&phi)) {
      code.SetScalar(&phi, llvm::PoisonValue::get(phi.getType()));
      continue;
    }
    llvm::PHINode* copy = builder.CreatePHI(phi.getType(), 2, phi.getName());
    copy->addIncoming(phi.getIncomingValueForBlock(preheader), entry);
    code.SetScalar(&phi, copy);
    counters.push_back({copy, values.Of(&phi).stride});
  }
  LaneControl(loop, loops, values, code, builder).EmitIteration();
  for (const Counter& counter : counters) {
    llvm::Type* type = counter.copy->getType();
    const uint64_t by = static_cast<uint64_t>(counter.stride) * lanes;
    llvm::Value* next = type->isPointerTy() ? builder.CreateGEP(builder.getInt8Ty(), counter.copy, builder.getInt64(by))
                                            : builder.CreateAdd(counter.copy, llvm::ConstantInt::get(type, by));
    counter.copy->addIncoming(next, builder.GetInsertBlock());
  }
  llvm::Value* next = builder.CreateAdd(done, builder.getInt64(lanes), "", /*HasNUW=*/true, /*HasNSW=*/true);
  done->addIncoming(next, builder.GetInsertBlock());
  llvm::BasicBlock* end = llvm::BasicBlock::Create(function.getContext(), "lanes.end", &function);
  builder.CreateCondBr(builder.CreateICmpEQ(next, passes), end, header);
  builder.SetInsertPoint(end);
  for (const auto& [flag, own] : flags) {
    llvm::Value* any = builder.CreateOrReduce(builder.CreateLoad(bits, own));
    builder.CreateStore(builder.CreateOr(builder.CreateLoad(builder.getInt1Ty(), flag), any), flag);
  }
  return end;
}

llvm::BasicBlock* EndOf(const llvm::Loop& loop) {
  auto* branch = llvm::cast<llvm::BranchInst>(loop.getLoopLatch()->getTerminator());
  return branch->getSuccessor(loop.contains(branch->getSuccessor(0)) ? 1 : 0);
}

void UsePoisonOutside(llvm::Loop& loop) {
  for (llvm::BasicBlock* block : loop.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      instruction.replaceUsesWithIf(llvm::PoisonValue::get(instruction.getType()), [&](llvm::Use& use) {
        return !loop.contains(llvm::cast<llvm::Instruction>(use.getUser()));
      });
    }
  }
}

// The region's own loop, in a function that is called for multiples of `lanes` passes and leaves no state.
void WidenPasses(llvm::Function& function, llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values, unsigned lanes) {
  llvm::BasicBlock *preheader = loop.getLoopPreheader(), *exit = EndOf(loop);
  UsePoisonOutside(loop);
  llvm::IRBuilder<> builder(function.getContext());
  llvm::BasicBlock* entry = llvm::BasicBlock::Create(function.getContext(), "lanes.entry", &function);
  preheader->getTerminator()->replaceSuccessorWith(loop.getHeader(), entry);
  EmitWideLoop(loop, loops, values, lanes, preheader, entry, function.getArg(kCount), builder);
  for (llvm::PHINode& phi : exit->phis()) {
    phi.addIncoming(llvm::PoisonValue::get(phi.getType()), builder.GetInsertBlock());
  }
  builder.CreateBr(exit);
  for (llvm::PHINode& phi : loop.getHeader()->phis()) {
    phi.setIncomingValueForBlock(preheader, llvm::PoisonValue::get(phi.getType()));
  }
  loop.getHeader()->removePredecessor(preheader, /*KeepOneInputPHIs=*/true);
  llvm::removeUnreachableBlocks(function);
}

// A loop inside the region's: the wide loop goes ahead of it, and leaves to it what is no whole group, or when something is
// used after the loop, at least one iteration.
void WidenInner(llvm::Function& function, llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values, unsigned lanes,
                llvm::ScalarEvolution& evolution) {
  llvm::BasicBlock *preheader = loop.getLoopPreheader(), *exit = EndOf(loop);
  const bool leaves_values = !exit->phis().empty();
  llvm::SCEVExpander expander(evolution, function.getParent()->getDataLayout(), "lanes");
  const llvm::SCEV* taken = evolution.getExitCount(&loop, loop.getLoopLatch());
  llvm::Value* latch_count = expander.expandCodeFor(taken, taken->getType(), preheader->getTerminator());
  expander.clear();
  llvm::IRBuilder<> builder(preheader->getTerminator());
  latch_count = builder.CreateZExt(latch_count, builder.getInt64Ty());
  llvm::Value* count = builder.CreateAdd(latch_count, builder.getInt64(1));
  llvm::Value* whole = builder.CreateAnd(leaves_values ? latch_count : count, builder.getInt64(~uint64_t{lanes - 1}));
  const auto block = [&](const char* name) { return llvm::BasicBlock::Create(function.getContext(), name, &function); };
  llvm::BasicBlock *entry = block("lanes.entry"), *rest = block("lanes.rest");
  llvm::Instruction* old = preheader->getTerminator();
  builder.CreateCondBr(builder.CreateIsNull(whole), rest, entry);
  old->eraseFromParent();
  llvm::BasicBlock* end = EmitWideLoop(loop, loops, values, lanes, preheader, entry, whole, builder);
  if (leaves_values) {
    builder.CreateBr(rest);
  } else {
    builder.CreateCondBr(builder.CreateICmpEQ(whole, count), exit, rest);
  }
  builder.SetInsertPoint(rest);
  llvm::PHINode* done = builder.CreatePHI(builder.getInt64Ty(), 2);
  done->addIncoming(builder.getInt64(0), preheader);
  done->addIncoming(whole, end);
  for (llvm::PHINode& phi : loop.getHeader()->phis()) {
    llvm::Value* start = phi.getIncomingValueForBlock(preheader);
    llvm::Value* by = builder.CreateMul(done, builder.getInt64(static_cast<uint64_t>(values.Of(&phi).stride)));
    start = phi.getType()->isPointerTy() ? builder.CreateGEP(builder.getInt8Ty(), start, by)
                                         : builder.CreateAdd(start, builder.CreateTrunc(by, start->getType()));
    phi.setIncomingValueForBlock(preheader, start);
    phi.replaceIncomingBlockWith(preheader, rest);
  }
  builder.CreateBr(loop.getHeader());
}

bool HasKeptValues(llvm::Loop& loop, const LaneValues& values) {
  return llvm::any_of(loop.getHeader()->phis(), [&](llvm::PHINode& phi) { return values.IsKept(&phi); });
}

}  // namespace

WidenedLoop WidenLoop(llvm::Function& function, Analyses& analyses, int vector_bits, MayWiden may_widen) {
  analyses.function.clear();
  llvm::ADCEPass().run(function, analyses.function);
  analyses.function.clear();
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  if (std::distance(loops.begin(), loops.end()) != 1) return {};
  llvm::Loop& region = **loops.begin();
  llvm::ScalarEvolution& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
  if (!NeedsLanes(region, evolution)) return {};
  auto& dominators = analyses.function.getResult<llvm::DominatorTreeAnalysis>(function);
  llvm::formLCSSARecursively(region, dominators, &loops, &evolution);

  constexpr double kLeastGain = 1.5;
  Candidate best{.gain = kLeastGain};
  llvm::IRBuilder<> builder(function.getContext());
  for (llvm::Loop* loop : region.getLoopsInPreorder()) {
    const bool inner = loop != &region;
    if (!HasOneEnd(*loop, region) || !NeedsLanes(*loop, evolution) || !may_widen(loop->getHeader())) continue;
    if (inner && llvm::isa<llvm::SCEVCouldNotCompute>(evolution.getExitCount(loop, loop->getLoopLatch()))) continue;
    const std::optional<LaneValues> values = LaneValues::Of(*loop, loops, evolution);
    if (!values || (inner && HasKeptValues(*loop, *values)) || !LaneCode(*values, *loop, 1, builder).CanEmit()) continue;
    const Candidate candidate = Weigh(*loop, *values, loops, vector_bits);
    if (candidate.loop && candidate.gain > best.gain) best = candidate;
  }
  if (!best.loop) return {};
  WidenedLoop widened{best.loop == &region, static_cast<int>(best.lanes), best.loop->getHeader()};
  if (widened.passes) {
    llvm::Function* single = CloneAs(function, ".single");
    const std::optional<LaneValues> values = LaneValues::Of(region, loops, evolution);
    WidenPasses(function, region, loops, *values, best.lanes);
    llvm::Function* wide = CloneAs(function, ".wide");
    DispatchGroups(function, *wide, *single, widened.lanes, GroupState::kNotLeft);
  } else {
    const std::optional<LaneValues> values = LaneValues::Of(*best.loop, loops, evolution);
    WidenInner(function, *best.loop, loops, *values, best.lanes, evolution);
  }
  analyses.function.clear();
  return widened;
}

}  // namespace tracelift::jit

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

#include <cmath>

#include "jit/emit/lane_code.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };

bool IsCounter(llvm::PHINode& phi, const llvm::Loop* loop, llvm::ScalarEvolution& evolution) {
  if (!evolution.isSCEVable(phi.getType())) return false;
  const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(&phi));
  return recurrence && recurrence->getLoop() == loop;
}

// LLVM vectorises innermost loops with one end and nothing but counters carried.
bool IsVectorisedAnyway(llvm::Loop* innermost, llvm::ScalarEvolution& evolution) {
  if (!innermost->getExitingBlock()) return false;
  return llvm::all_of(innermost->getHeader()->phis(),
                      [&](llvm::PHINode& phi) { return IsCounter(phi, innermost, evolution); });
}

bool NeedsLanes(llvm::Loop& loop, llvm::ScalarEvolution& evolution) {
  return llvm::any_of(loop.getLoopsInPreorder(),
                      [&](llvm::Loop* inner) { return inner->isInnermost() && !IsVectorisedAnyway(inner, evolution); });
}

struct Candidate {
  llvm::Loop* loop = nullptr;
  unsigned lanes = 0;
  double gain = 0;
};

// What becomes of an instruction, and how wide its elements are.
enum class LaneCost : uint8_t { kShared, kVector, kMasked, kGathered, kOneByOne };
struct Weighed {
  double weight;  // inner loops count more
  LaneCost cost;
  unsigned bits;
};

std::optional<Weighed> WeighInstruction(llvm::Instruction& instruction, const LaneValues& values, bool linear) {
  if (llvm::isa<llvm::PHINode>(instruction) || instruction.isTerminator()) return std::nullopt;
  if (const llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction)) {
    if (llvm::isa<llvm::AllocaInst>(pointer)) return std::nullopt;
    llvm::Type* type = llvm::getLoadStoreType(&instruction);
    const auto bytes = static_cast<int64_t>(instruction.getModule()->getDataLayout().getTypeStoreSize(type));
    const unsigned bits = type->getScalarSizeInBits();
    const LaneValue address = values.Of(pointer);
    if (address.kind == LaneKind::kUniform) return Weighed{1, LaneCost::kShared, bits};
    if (std::abs(address.stride) == bytes) return Weighed{1, LaneCost::kVector, bits};
    return Weighed{1, bits < 32 || type->isVectorTy() ? LaneCost::kOneByOne : LaneCost::kGathered, bits};
  }
  llvm::Type* type = instruction.getOperand(0)->getType();  // of a comparison, what is compared
  if (values.Of(&instruction).kind != LaneKind::kVarying || type->isPtrOrPtrVectorTy())
    return Weighed{1, LaneCost::kShared, 0};
  const bool one_by_one = instruction.isIntDivRem() && type->isIntOrIntVectorTy();
  return Weighed{1,
                 one_by_one ? LaneCost::kOneByOne
                 : linear   ? LaneCost::kMasked
                            : LaneCost::kVector,
                 type->getScalarSizeInBits()};
}

// What an iteration costs alone and what it costs for all lanes, in instructions.
Candidate Weigh(llvm::Loop& loop, const LaneValues& values, llvm::LoopInfo& loops, int vector_bits) {
  constexpr double kInnerTrips = 16;
  std::vector<Weighed> all;
  unsigned widest = 8;
  for (llvm::BasicBlock* block : loop.blocks()) {
    llvm::Loop* in = loops.getLoopFor(block);
    for (llvm::Instruction& instruction : *block) {
      std::optional<Weighed> weighed = WeighInstruction(instruction, values, values.IsLinear(in));
      if (!weighed) continue;
      weighed->weight = std::pow(kInnerTrips, in->getLoopDepth() - loop.getLoopDepth());
      if (weighed->cost != LaneCost::kShared) widest = std::max(widest, weighed->bits);
      all.push_back(*weighed);
    }
  }
  unsigned lanes = static_cast<unsigned>(vector_bits) / widest;
  constexpr size_t kFewInstructions = 200;  // more do not fit into the registers, and take long to compile
  if (all.size() <= kFewInstructions && lanes <= 16) lanes *= 2;  // chains of operations overlap
  double alone = 0, together = 0;
  for (const Weighed& weighed : all) {
    const double vectors = std::max(1.0, static_cast<double>(lanes * weighed.bits) / vector_bits);
    const double cost = weighed.cost == LaneCost::kShared     ? 0.5
                        : weighed.cost == LaneCost::kVector   ? vectors
                        : weighed.cost == LaneCost::kMasked   ? 2 * vectors
                        : weighed.cost == LaneCost::kGathered ? 0.75 * lanes
                                                              : 2.0 * lanes;
    alone += weighed.weight * lanes;
    together += weighed.weight * cost;
  }
  return {&loop, lanes, together > 0 ? alone / together : 0};
}

// The region's own loop, in a function that is called for multiples of `lanes` passes and leaves no state.
void WidenPasses(llvm::Function& function, llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values,
                 unsigned lanes) {
  llvm::BasicBlock *preheader = loop.getLoopPreheader(), *exit = EndOf(loop);
  UsePoisonOutside(loop);
  llvm::IRBuilder<> builder(function.getContext());
  llvm::BasicBlock* entry = llvm::BasicBlock::Create(function.getContext(), "lanes.entry", &function);
  preheader->getTerminator()->replaceSuccessorWith(loop.getHeader(), entry);
  EmitWideLoop(loop, loops, values, lanes, {entry, preheader}, function.getArg(kCount), builder);
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

// A loop inside the region's: the wide loop goes ahead of it, and leaves to it what is no whole group, or when
// something is used after the loop, at least one iteration.
void WidenInner(llvm::Function& function, llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values,
                unsigned lanes, llvm::ScalarEvolution& evolution) {
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
  llvm::BasicBlock* end = EmitWideLoop(loop, loops, values, lanes, {entry, preheader}, whole, builder);
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
    start = Further(start, values.Of(&phi).stride, done, builder);
    phi.setIncomingValueForBlock(preheader, start);
    phi.replaceIncomingBlockWith(preheader, rest);
  }
  builder.CreateBr(loop.getHeader());
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
    if (!values || (inner && HasKeptValues(*loop, *values)) || !LaneCode(*values, *loop, 1, builder).CanEmit())
      continue;
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

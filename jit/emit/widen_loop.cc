#include "jit/emit/widen_loop.h"

#include <llvm/Analysis/IVDescriptors.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/LCSSA.h>
#include <llvm/Transforms/Utils/LoopUtils.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <cmath>

#include "jit/emit/lane_code.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

constexpr unsigned kCount = 3;  // the chunk function's argument

// LLVM vectorises innermost loops with one end and nothing carried but counters, what the last iteration loaded (a[j - 1]), and
// sums of floats where their order does not matter.
bool IsVectorisedAnyway(llvm::Loop* innermost, llvm::ScalarEvolution& evolution, llvm::DominatorTree& dominators) {
  if (!innermost->getExitingBlock()) return false;
  return llvm::all_of(innermost->getHeader()->phis(), [&](llvm::PHINode& phi) {
    llvm::RecurrenceDescriptor sum;
    const bool is_sum = phi.getType()->isFloatingPointTy() && llvm::RecurrenceDescriptor::isReductionPHI(&phi, innermost, sum);
    return IsRecurrence(phi, innermost, evolution) || (is_sum && !sum.hasExactFPMath()) ||
           llvm::RecurrenceDescriptor::isFixedOrderRecurrence(&phi, innermost, &dominators);
  });
}

bool NeedsLanes(llvm::Loop& loop, llvm::ScalarEvolution& evolution, llvm::DominatorTree& dominators) {
  return llvm::any_of(loop.getLoopsInPreorder(), [&](llvm::Loop* inner) {
    return inner->isInnermost() && !IsVectorisedAnyway(inner, evolution, dominators);
  });
}

struct Candidate {
  llvm::Loop* loop = nullptr;
  unsigned lanes = 0;
  double gain = 0;
};

// What becomes of an instruction, and how wide its elements are.
enum class LaneCost : uint8_t { kShared, kVector, kMasked, kGathered, kGatheredByData, kOneByOne };
struct Weighed {
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
    if (address.kind == LaneKind::kUniform) return Weighed{LaneCost::kShared, bits};
    if (std::abs(address.stride) == bytes) return Weighed{LaneCost::kVector, bits};
    if (bits < 32 || type->isVectorTy()) return Weighed{LaneCost::kOneByOne, bits};
    return Weighed{address.kind == LaneKind::kAffine ? LaneCost::kGathered : LaneCost::kGatheredByData, bits};
  }
  llvm::Type* type = instruction.getOperand(0)->getType();  // of a comparison, what is compared
  if (values.Of(&instruction).kind != LaneKind::kVarying || type->isPtrOrPtrVectorTy())
    return Weighed{LaneCost::kShared, 0};
  const bool one_by_one = instruction.isIntDivRem() && type->isIntOrIntVectorTy();
  return Weighed{one_by_one ? LaneCost::kOneByOne
                 : linear   ? LaneCost::kMasked
                            : LaneCost::kVector,
                 type->getScalarSizeInBits()};
}

// What an iteration costs alone and what it costs for all lanes, in instructions.
Candidate Weigh(llvm::Loop& loop, const LaneValues& values, llvm::LoopInfo& loops, const VectorUnit& vectors_of) {
  const int vector_bits = vectors_of.bits;
  constexpr double kInnerTrips = 16;
  constexpr double kLongestOfLanes = 1.5;  // as often as the mean: lanes that leave a loop early wait for the last one
  struct Part {
    Weighed weighed;
    double weight, rounds;
  };
  std::vector<Part> all;  // inner loops count more
  unsigned widest = 8;
  const auto counts_iterations = [&](const llvm::Instruction& instruction) {  // of the loop itself: for all lanes together
    const llvm::BasicBlock* latch = loop.getLoopLatch();
    return instruction.getParent() == latch && instruction.hasOneUse() && instruction.user_back() == latch->getTerminator();
  };
  for (llvm::BasicBlock* block : loop.blocks()) {
    llvm::Loop* in = loops.getLoopFor(block);
    for (llvm::Instruction& instruction : *block) {
      const std::optional<Weighed> weighed = WeighInstruction(instruction, values, values.IsLinear(in));
      if (!weighed) continue;
      if (weighed->cost != LaneCost::kShared && !counts_iterations(instruction)) widest = std::max(widest, weighed->bits);
      const double weight = std::pow(kInnerTrips, in->getLoopDepth() - loop.getLoopDepth());
      all.push_back({*weighed, weight, values.IsDivergent(in) ? kLongestOfLanes : 1});
    }
  }
  unsigned lanes = static_cast<unsigned>(vector_bits) / widest;
  constexpr size_t kFewInstructions = 200;  // more do not fit into the registers, and take long to compile
  if (all.size() <= kFewInstructions && lanes <= 16) lanes *= 2;  // chains of operations overlap
  // Lanes that go on alone wait for what data lead them to, where a core would be ahead in the next row.
  const double kGather = vectors_of.gathers_fast ? 0.75 : 2.5, kGatherApart = vectors_of.gathers_fast ? 3 : 8;
  double alone = 0, together = 0;
  for (const auto& [weighed, weight, rounds] : all) {
    const double vectors = std::max(1.0, static_cast<double>(lanes * weighed.bits) / vector_bits);
    const double cost = weighed.cost == LaneCost::kShared     ? 0.5
                        : weighed.cost == LaneCost::kVector   ? vectors
                        : weighed.cost == LaneCost::kMasked   ? 1.25 * vectors
                        : weighed.cost == LaneCost::kGathered ? kGather * lanes
                        : weighed.cost == LaneCost::kGatheredByData ? (rounds > 1 ? kGatherApart : kGather) * lanes
                                                                    : 2.0 * lanes;
    alone += weight * lanes;
    together += weight * rounds * cost;
  }
  return {&loop, lanes, together > 0 ? alone / together : 0};
}

// A loop inside the region's: the wide loop goes ahead of it, and leaves to it what is no whole group, or when
// something is used after the loop, at least one iteration.
void WidenInner(llvm::Function& function, llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values,
                unsigned lanes, Reads reads, llvm::ScalarEvolution& evolution) {
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
  llvm::BasicBlock* end = EmitWideLoop(loop, loops, values, lanes, {entry, preheader}, whole, reads, builder);
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

// The loop of the region that gains most, if one does.
Candidate Choose(llvm::Function& function, llvm::Loop& region, Analyses& analyses, const VectorUnit& vectors, MayWiden may_widen,
                 std::optional<LaneValues>* best_values) {
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  llvm::ScalarEvolution& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
  auto& dominators = analyses.function.getResult<llvm::DominatorTreeAnalysis>(function);
  if (!NeedsLanes(region, evolution, dominators)) return {};
  llvm::formLCSSARecursively(region, dominators, &loops, &evolution);

  constexpr double kLeastGain = 1.3;  // what does not win loses the contest with code in one lane
  Candidate best{.gain = kLeastGain};
  llvm::IRBuilder<> builder(function.getContext());
  for (llvm::Loop* loop : region.getLoopsInPreorder()) {
    const bool inner = loop != &region;
    if (!HasOneEnd(*loop, region) || !NeedsLanes(*loop, evolution, dominators) || !may_widen(loop->getHeader()))
      continue;
    if (inner && llvm::isa<llvm::SCEVCouldNotCompute>(evolution.getExitCount(loop, loop->getLoopLatch()))) continue;
    const std::optional<LaneValues> values = LaneValues::Of(*loop, loops, evolution);
    if (!values || (inner && HasKeptValues(*loop, *values)) || !LaneCode(*values, *loop, 1, builder).CanEmit())
      continue;
    const Candidate candidate = Weigh(*loop, *values, loops, vectors);
    if (candidate.gain <= best.gain) continue;
    best = candidate;
    best_values->emplace(*values);
  }
  return best;
}

}  // namespace

bool GainsByWidening(llvm::Function& function, Analyses& analyses, const VectorUnit& vectors, MayWiden may_widen) {
  llvm::Loop* region = RegionLoopOf(function, analyses);
  std::optional<LaneValues> values;
  return region && Choose(function, *region, analyses, vectors, may_widen, &values).loop;
}

WidenedLoop WidenLoop(llvm::Function& function, Analyses& analyses, const VectorUnit& vectors, MayWiden may_widen, Reads reads) {
  llvm::Loop* outermost = RegionLoopOf(function, analyses);
  if (!outermost) return {};
  llvm::Loop& region = *outermost;
  std::optional<LaneValues> best_values;
  const Candidate best = Choose(function, region, analyses, vectors, may_widen, &best_values);
  if (!best.loop) return {};
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  llvm::ScalarEvolution& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
  WidenedLoop widened{best.loop == &region, static_cast<int>(best.lanes), best.loop->getHeader()};
  if (widened.passes) {
    llvm::Function* single = CloneAs(function, ".single");
    for (const auto kind : {llvm::Attribute::OptimizeForSize, llvm::Attribute::NoInline}) single->addFnAttr(kind);
    ReplaceByWideLoop(region, loops, *best_values, best.lanes, nullptr, function.getArg(kCount), reads);
    llvm::Function* wide = CloneAs(function, ".wide");
    DispatchGroups(function, *wide, *single, widened.lanes, GroupState::kNotLeft);
  } else {
    WidenInner(function, *best.loop, loops, *best_values, best.lanes, reads, evolution);
  }
  analyses.function.clear();
  return widened;
}

}  // namespace tracelift::jit

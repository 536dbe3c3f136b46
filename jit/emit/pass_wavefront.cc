#include "jit/emit/pass_wavefront.h"

#include <llvm/ADT/PostOrderIterator.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/Transforms/Utils/LoopUtils.h>

#include <algorithm>
#include <optional>

#include "jit/emit/entry_facts.h"
#include "jit/emit/handed_reads.h"
#include "jit/emit/lane_code.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/stagger_passes.h"
#include "jit/emit/straighten_loops.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };

constexpr int kLargestSkew = 4;
constexpr int kShortestRamp = 3;  // the inner loop is so many times as long as the lanes need to get going

std::vector<uint8_t> PlacesOf(const std::vector<AccessBy>& accesses_by, llvm::Loop& inner, size_t accesses) {
  llvm::DominatorTree dominators(*inner.getHeader()->getParent());
  std::vector<uint8_t> places(accesses);
  for (const AccessBy& by : accesses_by) {
    llvm::BasicBlock* block = by.instruction->getParent();
    const bool behind = dominators.dominates(inner.getHeader(), block);
    places[static_cast<size_t>(by.access)] |= inner.contains(block) ? kWithinInner
                                              : behind              ? kBehindInner
                                                                    : kAheadOfInner;
  }
  return places;
}

// In each iteration, as blocks come one after another.
bool ReadsComeFirst(llvm::Loop& inner) {
  bool written = false;
  for (llvm::BasicBlock* block : llvm::ReversePostOrderTraversal<llvm::BasicBlock*>(inner.getHeader())) {
    if (!inner.contains(block)) continue;
    for (const llvm::Instruction& instruction : *block) {
      if (written && instruction.mayReadFromMemory()) return false;
      written |= instruction.mayWriteToMemory();
    }
  }
  return true;
}

// Of what the inner loop reads and writes.
unsigned WidestElement(llvm::Loop& inner) {
  unsigned widest = 32;
  for (llvm::BasicBlock* block : inner.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      if (!llvm::getLoadStorePointerOperand(&instruction)) continue;
      widest = std::max(widest, llvm::getLoadStoreType(&instruction)->getScalarSizeInBits());
    }
  }
  return widest;
}

// One group of passes, side by side. Null when its code has no form for lanes.
llvm::Function* EmitGroup(llvm::Function& function, Analyses& analyses, unsigned lanes, unsigned skew) {
  llvm::Function* group = CloneAs(function, ".wavefront");
  group->addFnAttr(kReadsOnlyWhenThere);
  group->addFnAttr(llvm::Attribute::NoInline);  // which would take that from it
  const auto emit = [&] {
    if (!StaggerPasses(*group, analyses, lanes, skew)) return false;
    llvm::Loop* region = RegionLoopOf(*group, analyses);
    if (!region || !HasOneEnd(*region, *region)) return false;
    auto& loops = analyses.function.getResult<llvm::LoopAnalysis>(*group);
    auto& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(*group);
    auto& dominators = analyses.function.getResult<llvm::DominatorTreeAnalysis>(*group);
    llvm::formLCSSARecursively(*region, dominators, &loops, &evolution);
    const std::optional<LaneValues> values = LaneValues::Of(*region, loops, evolution);
    llvm::IRBuilder<> builder(group->getContext());
    if (!values || !LaneCode(*values, *region, 1, builder).CanEmit()) return false;
    ReplaceByWideLoop(*region, loops, *values, lanes, nullptr, builder.getInt64(lanes), Reads::kOfLanesThere);
    return true;
  };
  const bool emitted = emit();
  analyses.function.clear();
  if (emitted) return group;
  group->eraseFromParent();
  return nullptr;
}

}  // namespace

Wavefront PlanWavefront(llvm::Loop& region, llvm::ScalarEvolution& evolution, const SeenFootprint& seen,
                        const std::vector<AccessBy>& accesses_by, const MachineState& observed, int vector_bits) {
  llvm::Loop* inner = InnerLoopOf(region, evolution);
  if (!inner || !seen.EachMeetsTheNext()) return {};
  // Vectors of neighbouring iterations read in a row.
  const bool counts_only =
      llvm::all_of(inner->getHeader()->phis(), [&](llvm::PHINode& phi) { return IsRecurrence(phi, inner, evolution); });
  if (counts_only && seen.MayWiden(inner->getHeader())) return {};
  const int64_t passes = seen.LengthOf(region.getHeader()), length = seen.LengthOf(inner->getHeader());
  const int vector = vector_bits / static_cast<int>(WidestElement(*inner));
  Wavefront plan{.lanes = 0,
                 .skew = 0,
                 .loop = 1,
                 .places = PlacesOf(accesses_by, *inner, seen.accesses()),
                 .handed_on = {},
                 .reads_first = ReadsComeFirst(*inner)};
  for (const int lanes : {2 * vector, vector}) {  // with two vectors, chains of operations overlap
    plan.lanes = lanes;
    for (plan.skew = 1; plan.skew <= kLargestSkew; ++plan.skew) {
      const int64_t ramp = int64_t{lanes - 1} * plan.skew;
      if (passes > lanes && length >= kShortestRamp * ramp && seen.KeepsOrder(plan)) {
        if (!RelyOnSteps(region, evolution, observed)) return {};
        plan.handed_on = PlanHandedReads(*inner, *EndOfIteration(*inner, region), plan, seen, accesses_by);
        return plan;
      }
    }
  }
  return {};
}

bool RunAsWavefront(llvm::Function& function, Analyses& analyses, const Wavefront& wavefront) {
  const auto lanes = static_cast<unsigned>(wavefront.lanes);
  llvm::Function* group = EmitGroup(function, analyses, lanes, static_cast<unsigned>(wavefront.skew));
  if (!group) return false;
  llvm::Function* single = CloneAs(function, ".single");
  DispatchGroups(
      function, *single, wavefront.lanes, GroupState::kNotLeft,
      [&](llvm::IRBuilder<>& builder, llvm::Value* passes, llvm::Value* out) {
        llvm::BasicBlock* before = builder.GetInsertBlock();
        llvm::BasicBlock* next = llvm::BasicBlock::Create(function.getContext(), "group", &function);
        llvm::BasicBlock* after = llvm::BasicBlock::Create(function.getContext(), "after", &function);
        builder.CreateBr(next);
        builder.SetInsertPoint(next);
        llvm::PHINode* done = builder.CreatePHI(builder.getInt64Ty(), 2);
        done->addIncoming(builder.getInt64(0), before);
        builder.CreateCall(group, {function.getArg(kIn), out, builder.CreateAdd(function.getArg(kFirst), done),
                                   builder.getInt64(lanes), function.getArg(kFlags)});
        llvm::Value* with_it = builder.CreateAdd(done, builder.getInt64(lanes), "", /*HasNUW=*/true, /*HasNSW=*/true);
        done->addIncoming(with_it, next);
        builder.CreateCondBr(builder.CreateICmpEQ(with_it, passes), after, next);
        builder.SetInsertPoint(after);
      });
  analyses.function.clear();
  return true;
}

}  // namespace tracelift::jit

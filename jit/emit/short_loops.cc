#include "jit/emit/short_loops.h"

#include <llvm/Analysis/AssumptionCache.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/OptimizationRemarkEmitter.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/Analysis/TargetTransformInfo.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Instructions.h>
#include <llvm/Transforms/Utils/LoopUtils.h>
#include <llvm/Transforms/Utils/UnrollLoop.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <set>
#include <vector>

#include "jit/emit/entry_address.h"
#include "jit/emit/entry_facts.h"
#include "jit/emit/host_target.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

constexpr unsigned kMostIterations = 32;
constexpr uint64_t kMostInstructions = 4096;  // of all that is unrolled
constexpr int64_t kNearRsp = 1 << 16;

using LoopSet = llvm::SmallPtrSet<const llvm::Loop*, 8>;

// The one register at entry lies so far behind the other, as seen.
struct Distance {
  int to = 0, from = 0;
  int64_t bytes = 0;
};

// `count` as (one register) - (another) + constant; what it is, seen from `seen`.
struct Difference {
  Distance distance;
  int64_t value = 0;
};
std::optional<Difference> DifferenceOf(const llvm::SCEV* count, const llvm::Function& function,
                                       const MachineState& seen) {
  const auto* sum = llvm::dyn_cast<llvm::SCEVAddExpr>(count);
  if (!sum) return std::nullopt;
  std::optional<int> to, from;
  int64_t constant = 0;
  for (const llvm::SCEV* term : sum->operands()) {
    if (const auto* number = llvm::dyn_cast<llvm::SCEVConstant>(term)) {
      constant = number->getAPInt().getSExtValue();
      continue;
    }
    const auto* product = llvm::dyn_cast<llvm::SCEVMulExpr>(term);
    const bool is_negative = product && product->getNumOperands() == 2 && product->getOperand(0)->isAllOnesValue();
    const auto* value = llvm::dyn_cast<llvm::SCEVUnknown>(is_negative ? product->getOperand(1) : term);
    std::optional<int>& gpr = is_negative ? from : to;
    if (!value || gpr) return std::nullopt;
    gpr = EntryGprOf(value->getValue(), function);
    if (!gpr) return std::nullopt;
  }
  if (!to || !from) return std::nullopt;
  const uint64_t bytes = seen.gpr[static_cast<size_t>(*to)] - seen.gpr[static_cast<size_t>(*from)];
  const uint64_t value = bytes + static_cast<uint64_t>(constant);
  return Difference{{*to, *from, static_cast<int64_t>(bytes)}, static_cast<int64_t>(value)};
}

class ShortLoops {
 public:
  ShortLoops(const llvm::Loop& region, llvm::ScalarEvolution& evolution, const MachineState& seen, bool fixed_ends)
      : region_(region), evolution_(evolution), seen_(seen), fixed_ends_(fixed_ends) {}

  /// What the loops found are counted by, beside constants, and where what is stored in them lies in the stack.
  std::vector<Distance> DistancesOf(const std::vector<llvm::Loop*>& loops) const {
    std::vector<Distance> distances;
    for (int gpr : loops.empty() ? std::set<int>() : bases_) {
      const auto from_rsp = static_cast<int64_t>(seen_.gpr[static_cast<size_t>(gpr)] - seen_.gpr[kRsp]);
      if (gpr != kRsp && std::abs(from_rsp) < kNearRsp) distances.push_back({gpr, kRsp, from_rsp});
    }
    for (const llvm::Loop* loop : loops) {
      if (evolution_.getSmallConstantTripCount(loop) != 0) continue;
      if (const std::optional<Difference> end = EndOf(loop)) distances.push_back(end->distance);
    }
    return distances;
  }

  /// The loops to unroll, inner ones before those around them; empty when nothing would be gained.
  std::vector<llvm::Loop*> Find() {
    const llvm::Function& function = *region_.getHeader()->getParent();
    bool stores = false;
    for (llvm::BasicBlock* block : region_.blocks()) {
      for (llvm::Instruction& instruction : *block) {
        llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction);
        const llvm::SCEV* address = pointer ? AddressOf(pointer, evolution_) : nullptr;
        LoopSet around;
        if (!address || !RepeatsEachPass(address, &around) || around.empty()) continue;
        wanted_.insert(around.begin(), around.end());
        stores |= llvm::isa<llvm::StoreInst>(instruction);
        const auto is_base = [&](const llvm::SCEV* part) {
          const auto* value = llvm::dyn_cast<llvm::SCEVUnknown>(part);
          const std::optional<int> gpr = value ? EntryGprOf(value->getValue(), function) : std::nullopt;
          if (gpr) bases_.insert(*gpr);
          return false;
        };
        llvm::SCEVExprContains(address, is_base);
      }
    }
    std::vector<llvm::Loop*> order;
    if (!stores) return order;
    for (llvm::Loop* loop : region_) Add(loop, false, &order);
    return order;
  }

 private:
  unsigned IterationsOf(const llvm::Loop* loop) const {
    if (loop == &region_) return 0;
    unsigned trip = evolution_.getSmallConstantTripCount(loop);
    if (const std::optional<Difference> end = trip == 0 ? EndOf(loop) : std::nullopt) {
      const auto step = static_cast<int64_t>(CountOf(loop, loop->getExitingBlock(), evolution_).divisor);
      const bool fits = end->value >= 0 && end->value % step == 0 && end->value / step < kMostIterations;
      trip = fits ? static_cast<unsigned>(end->value / step) + 1 : 0;
    }
    return trip <= kMostIterations ? trip : 0;
  }

  std::optional<Difference> EndOf(const llvm::Loop* loop) const {
    if (!fixed_ends_ || !loop->getExitingBlock()) return std::nullopt;
    const ExitCount count = CountOf(loop, loop->getExitingBlock(), evolution_);
    return count.dividend ? DifferenceOf(count.dividend, *loop->getHeader()->getParent(), seen_) : std::nullopt;
  }

  /// Fills in the short loops whose counters `address` depends on; false when it depends on anything else that a pass
  /// changes.
  bool RepeatsEachPass(const llvm::SCEV* address, LoopSet* around) const {
    while (const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(address)) {
      if (!recurrence->isAffine() || IterationsOf(recurrence->getLoop()) == 0) return false;
      around->insert(recurrence->getLoop());
      address = recurrence->getStart();
    }
    return evolution_.isLoopInvariant(address, &region_);
  }

  /// Adds `loop` behind the loops in it, if it is wanted or the one around it is; returns how many instructions it is
  /// then.
  uint64_t Add(llvm::Loop* loop, bool wanted, std::vector<llvm::Loop*>* order) {
    wanted |= wanted_.contains(loop);
    uint64_t size = 0;
    for (const llvm::BasicBlock* block : loop->blocks()) size += block->size();
    bool all_inner = true;
    for (llvm::Loop* inner : *loop) {
      for (const llvm::BasicBlock* block : inner->blocks()) size -= block->size();
      size += Add(inner, wanted, order);
      all_inner &= !order->empty() && order->back() == inner;
    }
    const uint64_t unrolled = size * IterationsOf(loop);
    if (!wanted || !all_inner || unrolled == 0 || total_ + unrolled > kMostInstructions) return size;
    total_ += unrolled;
    order->push_back(loop);
    return unrolled;
  }

  const llvm::Loop& region_;
  llvm::ScalarEvolution& evolution_;
  const MachineState& seen_;
  const bool fixed_ends_;
  LoopSet wanted_;
  std::set<int> bases_;  // registers in addresses that repeat each pass
  uint64_t total_ = 0;
};

}  // namespace

namespace {

// Of registers that are related, also through others, all from the same one, rsp if it is among them.
std::vector<Distance> FromOnes(const std::vector<Distance>& distances, const MachineState& seen) {
  std::array<int, kGprCount> one{};
  std::iota(one.begin(), one.end(), 0);
  for (const Distance& distance : distances) {
    int into = one[static_cast<size_t>(distance.from)], old = one[static_cast<size_t>(distance.to)];
    if (old == kRsp) std::swap(into, old);
    std::ranges::replace(one, old, into);
  }
  std::vector<Distance> all;
  for (int gpr = 0; gpr < kGprCount; ++gpr) {
    const int from = one[static_cast<size_t>(gpr)];
    const uint64_t bytes = seen.gpr[static_cast<size_t>(gpr)] - seen.gpr[static_cast<size_t>(from)];
    if (from != gpr) all.push_back({gpr, from, static_cast<int64_t>(bytes)});
  }
  return all;
}

// The register `to` becomes what `from` tells of it.
void RelyOnDistance(const Distance& distance, llvm::Function& function) {
  llvm::IRBuilder<> builder(&*function.getEntryBlock().getFirstInsertionPt());
  const auto at_entry = [&](int gpr) {
    const uint64_t offset = offsetof(MachineState, gpr) + sizeof(uint64_t) * static_cast<uint64_t>(gpr);
    llvm::Value* from = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), function.getArg(0), offset);
    return builder.CreateAlignedLoad(builder.getInt64Ty(), from, llvm::Align(8));
  };
  const auto loads_of = [&](int gpr) {
    std::vector<llvm::Instruction*> loads;
    for (llvm::BasicBlock& block : function) {
      for (llvm::Instruction& instruction : block) {
        if (EntryGprOf(&instruction, function) == gpr) loads.push_back(&instruction);
      }
    }
    return loads;
  };
  const std::vector<llvm::Instruction*> loads_to = loads_of(distance.to), loads_from = loads_of(distance.from);
  llvm::Value* from = at_entry(distance.from);
  llvm::Value* expected = builder.CreateAdd(from, builder.getInt64(static_cast<uint64_t>(distance.bytes)));
  RelyOn(builder.CreateICmpEQ(at_entry(distance.to), expected), &*builder.GetInsertPoint());
  for (llvm::Instruction* load : loads_from) load->replaceAllUsesWith(from);
  for (llvm::Instruction* load : loads_to) load->replaceAllUsesWith(expected);
}

}  // namespace

bool UnrollShortLoops(llvm::Function& function, Analyses& analyses, const MachineState& seen, bool fixed_ends) {
  llvm::FunctionAnalysisManager& manager = analyses.function;
  if (manager.getResult<llvm::LoopAnalysis>(function).empty()) return false;
  const auto short_loops = [&](bool by_distance) {
    llvm::Loop& region = **manager.getResult<llvm::LoopAnalysis>(function).begin();
    return ShortLoops(region, manager.getResult<llvm::ScalarEvolutionAnalysis>(function), seen, by_distance);
  };
  ShortLoops by_distance = short_loops(fixed_ends);
  const std::vector<Distance> distances = FromOnes(by_distance.DistancesOf(by_distance.Find()), seen);
  for (const Distance& distance : distances) RelyOnDistance(distance, function);
  if (!distances.empty()) {
    manager.clear();
    SimplifyForAnalysis(function, analyses);
  }
  llvm::LoopInfo& loops = manager.getResult<llvm::LoopAnalysis>(function);
  if (loops.empty()) return false;
  llvm::ScalarEvolution& evolution = manager.getResult<llvm::ScalarEvolutionAnalysis>(function);
  llvm::DominatorTree& dominators = manager.getResult<llvm::DominatorTreeAnalysis>(function);
  llvm::AssumptionCache& assumptions = manager.getResult<llvm::AssumptionAnalysis>(function);
  const llvm::TargetTransformInfo& costs = manager.getResult<llvm::TargetIRAnalysis>(function);
  llvm::OptimizationRemarkEmitter remarks(&function);
  llvm::Loop& region = **loops.begin();
  bool changed = false;
  for (llvm::Loop* loop : short_loops(false).Find()) {
    if (!loop->isLoopSimplifyForm()) continue;
    changed |= llvm::formLCSSARecursively(region, dominators, &loops, &evolution);
    const unsigned iterations = evolution.getSmallConstantTripCount(loop);
    llvm::UnrollLoopOptions options{};
    options.Count = iterations;
    options.Force = true;
    const llvm::LoopUnrollResult result = llvm::UnrollLoop(loop, options, &loops, &evolution, &dominators, &assumptions,
                                                           &costs, &remarks, /*PreserveLCSSA=*/true);
    changed |= result != llvm::LoopUnrollResult::Unmodified;
  }
  return changed;
}

}  // namespace tracelift::jit

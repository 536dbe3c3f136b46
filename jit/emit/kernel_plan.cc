#include "jit/emit/kernel_plan.h"

#include <fmt/format.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Constants.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <algorithm>
#include <map>

#include "jit/emit/cut_loops.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

constexpr char kMemoryMark[] = "tl.memory";
constexpr int64_t kFewestIterations = 4;  // that are worth a dimension

void Mark(llvm::Instruction& access, int memory, uint64_t alignment) {
  llvm::LLVMContext& context = access.getContext();
  const auto number = [&](uint64_t value) {
    return llvm::ConstantAsMetadata::get(llvm::ConstantInt::get(llvm::Type::getInt32Ty(context), value));
  };
  access.setMetadata(kMemoryMark, llvm::MDNode::get(context, {number(static_cast<uint64_t>(memory)), number(alignment)}));
}

class GridPlanner {
 public:
  GridPlanner(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution, const SeenFootprint& seen)
      : region_(region), evolution_(evolution), seen_(seen), cut_(region, loops, evolution, seen, Lengths::kAny) {}

  // Loops of which each thread does an iteration in all passes, in order. Empty: there are none.
  std::vector<llvm::Loop*> PlanInOrder() const {
    for (llvm::Loop* loop : region_.getLoopsInPreorder()) {
      if (cut_.LengthOf(*loop) < kFewestIterations) continue;
      std::vector<llvm::Loop*> cut = cut_.LoopsWith(*loop);
      std::vector<llvm::BasicBlock*> headers;
      for (llvm::Loop* one : cut) headers.push_back(one->getHeader());
      const bool can_cut = !cut.empty() && llvm::all_of(cut, [&](llvm::Loop* one) { return CanCut(*one); });
      if (can_cut && seen_.MayCutInOrder(headers)) return cut;
    }
    return {};
  }

  std::vector<std::vector<llvm::Loop*>> Plan() const {
    std::vector<std::vector<llvm::Loop*>> dimensions;
    std::vector<std::vector<llvm::BasicBlock*>> headers;
    for (llvm::Loop* loop : region_.getLoopsInPreorder()) {
      if (dimensions.size() + 1 == kMaxGridDims) break;
      if (cut_.LengthOf(*loop) < kFewestIterations || IsTaken(*loop, dimensions)) continue;
      const std::vector<llvm::Loop*> cut = cut_.LoopsWith(*loop);
      const bool can_cut = !cut.empty() && llvm::all_of(cut, [&](llvm::Loop* one) { return CanCut(*one) && !IsTaken(*one, dimensions); });
      if (!can_cut) continue;
      std::vector<llvm::BasicBlock*> headers_of;
      for (llvm::Loop* one : cut) headers_of.push_back(one->getHeader());
      headers.push_back(headers_of);
      if (seen_.MayBeGrid(headers)) {
        dimensions.push_back(cut);
      } else {
        headers.pop_back();
      }
    }
    return dimensions;
  }

 private:
  // Is a dimension, or lies around one.
  static bool IsTaken(const llvm::Loop& loop, const std::vector<std::vector<llvm::Loop*>>& dimensions) {
    return llvm::any_of(dimensions, [&](const std::vector<llvm::Loop*>& dimension) {
      return llvm::any_of(dimension, [&](const llvm::Loop* one) { return loop.contains(one); });
    });
  }

  bool CanCut(llvm::Loop& loop) const {
    if (!HasOneEnd(loop, region_) || cut_.HandsOnValues(loop)) return false;
    const bool counts = llvm::all_of(loop.getHeader()->phis(), [&](llvm::PHINode& phi) {
      return IsRecurrence(phi, &loop, evolution_) || !cut_.IsNeeded(phi);
    });
    const llvm::SCEV* taken = evolution_.getExitCount(&loop, loop.getLoopLatch());
    const llvm::SCEVExpander expander(evolution_, region_.getHeader()->getModule()->getDataLayout(), "length");
    return counts && expander.isSafeToExpandAt(taken, loop.getLoopPreheader()->getTerminator());
  }

  llvm::Loop& region_;
  llvm::ScalarEvolution& evolution_;
  const SeenFootprint& seen_;
  CutLoops cut_;
};

// Numbers what was found to be apart, from 0 on; accesses of one instruction are in one memory.
std::vector<uint8_t> NumberMemories(std::vector<uint8_t> apart, const std::vector<AccessBy>& accesses_by, uint8_t* count) {
  std::map<const llvm::Instruction*, uint8_t> of;
  for (const AccessBy& by : accesses_by) {
    const uint8_t memory = apart[static_cast<size_t>(by.access)];
    const auto [first, is_new] = of.try_emplace(by.instruction, memory);
    if (is_new || first->second == memory) continue;
    const uint8_t joined = first->second;
    std::ranges::replace(apart, memory, joined);
    for (auto& [instruction, known] : of) known = known == memory ? joined : known;
  }
  std::map<uint8_t, uint8_t> numbers;
  for (uint8_t& memory : apart) memory = numbers.try_emplace(memory, static_cast<uint8_t>(numbers.size())).first->second;
  *count = static_cast<uint8_t>(numbers.size());
  return apart;
}

}  // namespace

MemoryMark MemoryOf(const llvm::Instruction& access) {
  const llvm::MDNode* mark = access.getMetadata(kMemoryMark);
  if (!mark) return {};
  const auto number = [&](unsigned i) { return llvm::mdconst::extract<llvm::ConstantInt>(mark->getOperand(i))->getZExtValue(); };
  return {static_cast<int>(number(0)), number(1)};
}

std::expected<KernelPlan, std::string> PlanKernel(const LoopShape& shape, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution,
                                                  const LoopFootprint& footprint, SeenFootprint& seen) {
  if (llvm::any_of(shape.reductions, [](const ReductionWeb& web) { return IsFloat(web.reduction.kind); }))
    return std::unexpected("it sums up floats");
  KernelPlan plan;
  Kernel& kernel = plan.kernel;
  kernel.symbol = "tl_kernel";

  const std::vector<uint8_t> apart = seen.RangesApart();
  if (apart.size() != seen.program().accesses.size()) return std::unexpected("what it touches was not known when it was compiled");
  kernel.memory = NumberMemories(apart, footprint.accesses_by, &kernel.access_memories);
  kernel.alignment = seen.Alignments();
  std::map<llvm::Instruction*, uint64_t> alignments;
  for (const AccessBy& by : footprint.accesses_by) {
    const uint64_t bits = uint64_t{kernel.alignment[static_cast<size_t>(by.access)]} | by.offset;
    const auto [known, is_new] = alignments.try_emplace(by.instruction, bits & -bits);
    if (!is_new) known->second = std::min(known->second, bits & -bits);
    Mark(*by.instruction, kernel.memory[static_cast<size_t>(by.access)], known->second);
  }
  for (const WindowRead& read : footprint.window_reads) Mark(*read.load, kernel.access_memories + read.window, 0);
  const int before_tables = kernel.access_memories + static_cast<int>(seen.program().windows.size());
  for (const TableRead& read : footprint.table_reads) {
    const KernelTable table{static_cast<int8_t>(read.module), read.table.begin, read.table.size()};
    auto found = std::ranges::find(kernel.tables, table);
    if (found == kernel.tables.end()) found = kernel.tables.insert(found, table);
    Mark(*read.load, before_tables + static_cast<int>(found - kernel.tables.begin()), 0);
  }
  if (kernel.memories(seen.program().windows.size()) > kMaxMemories)
    return std::unexpected(fmt::format("it touches more than {} memories", kMaxMemories));

  if (!shape.reductions.empty()) return plan;  // what a pass adds, it adds once
  const auto headers_of = [](const std::vector<llvm::Loop*>& cut) {
    std::vector<llvm::BasicBlock*> headers;
    for (const llvm::Loop* loop : cut) headers.push_back(loop->getHeader());
    return headers;
  };
  const GridPlanner planner(*shape.loop, loops, evolution, seen);
  if (seen.PassesMeet()) {
    const std::vector<llvm::Loop*> cut = planner.PlanInOrder();
    kernel.ordered = !cut.empty();
    if (kernel.ordered) {
      plan.headers = {headers_of(cut)};
      seen.RelyOnPanels(plan.headers.front(), /*ordered=*/true);
    }
  } else {
    for (const std::vector<llvm::Loop*>& dimension : planner.Plan()) plan.headers.push_back(headers_of(dimension));
    if (!plan.headers.empty()) {
      seen.RelyOnGrid(plan.headers);
      kernel.passes_last = seen.FollowsPasses(plan.headers.back().front());
    }
  }
  kernel.inner_dims = static_cast<uint8_t>(plan.headers.size());
  return plan;
}

}  // namespace tracelift::jit

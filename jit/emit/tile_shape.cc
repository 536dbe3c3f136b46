#include "jit/emit/tile_shape.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "jit/emit/result_function.h"

namespace tracelift::jit {
namespace {

constexpr std::array<int, 3> kSides = {1, 2, 4};
constexpr size_t kMostInstructions = 3000;
constexpr double kIterations = 16;    // of a loop, for weighing what is in it
constexpr double kFewest = 8;         // accesses of a result; who makes less streams
constexpr double kWorthIt = 0.7;      // of those of a result by itself
constexpr double kAsGood = 1.1;       // then fewer results are better: more threads
constexpr int kMostRegisters = 72;    // of 32 bits, for what a loop keeps

class ShapeChooser {
 public:
  ShapeChooser(llvm::Function& function, const TileFacts& facts, Analyses& analyses)
      : function_(function),
        facts_(facts),
        loops_(analyses.function.getResult<llvm::LoopAnalysis>(function)),
        evolution_(analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function)) {}

  TileShape Choose() {
    Axes possible = static_cast<Axes>((facts_.has_rows ? kByRow : 0) | kByColumn);
    std::vector<Access> accesses;
    size_t instructions = 0;
    for (llvm::BasicBlock& block : function_) {
      possible &= static_cast<Axes>(~DividedBy(*block.getTerminator()));
      for (llvm::Instruction& instruction : block) {
        ++instructions;
        if (IsOfLaunch(instruction)) continue;
        const double weight = std::pow(kIterations, loops_.getLoopDepth(&block));
        if (llvm::isa<llvm::StoreInst>(instruction)) {
          possible &= facts_.dependence.Of(instruction.getOperand(1));
          accesses.push_back({kByRow | kByColumn, weight});
        } else if (llvm::isa<llvm::LoadInst>(instruction)) {
          accesses.push_back({facts_.dependence.Of(&instruction), weight});
        } else if (llvm::isa<llvm::AllocaInst>(instruction) || (instruction.mayReadOrWriteMemory() && !llvm::isAssumeLikeIntrinsic(&instruction))) {
          return {};
        }
      }
    }
    double alone = 0;
    for (const Access& access : accesses) alone += access.weight;
    if (alone < kFewest) return {};
    return BestShape(possible, accesses, alone, instructions);
  }

 private:
  struct Access {
    Axes axes;
    double weight;
  };

  TileShape BestShape(Axes possible, const std::vector<Access>& accesses, double alone, size_t instructions) const {
    struct Rated {
      TileShape shape;
      double accesses;  // of each result
    };
    std::vector<Rated> worth;
    for (const int rows : kSides) {
      for (const int columns : kSides) {
        const TileShape shape{rows, columns};
        if ((rows > 1 && !(possible & kByRow)) || (columns > 1 && !(possible & kByColumn))) continue;
        if (instructions * static_cast<size_t>(shape.results()) > kMostInstructions || RegistersOf(shape) > kMostRegisters) continue;
        double all = 0;
        for (const Access& access : accesses) all += access.weight * CopiesOf(access.axes, shape);
        if (all / shape.results() <= kWorthIt * alone) worth.push_back({shape, all / shape.results()});
      }
    }
    if (worth.empty()) return {};
    const double least = std::ranges::min(worth, {}, &Rated::accesses).accesses;
    std::erase_if(worth, [&](const Rated& rated) { return rated.accesses > kAsGood * least; });
    const auto cost = [](const Rated& rated) { return std::pair(rated.shape.results(), -rated.shape.rows); };
    return std::ranges::min(worth, {}, cost).shape;
  }

  static int CopiesOf(Axes axes, const TileShape& shape) { return (axes & kByRow ? shape.rows : 1) * (axes & kByColumn ? shape.columns : 1); }

  // About what a loop needs: what it carries on, reads, and has got from outside. Of addresses and counters there is one for all.
  int RegistersOf(const TileShape& shape) const {
    int most = 0;
    for (const llvm::Loop* loop : loops_.getLoopsInPreorder()) {
      int registers = 0;
      const auto add = [&](const llvm::Value& value, bool one_for_all) {
        const uint64_t bits = function_.getParent()->getDataLayout().getTypeSizeInBits(value.getType()).getFixedValue();
        registers += (one_for_all ? 1 : CopiesOf(facts_.dependence.Of(&value), shape)) * static_cast<int>((bits + 31) / 32);
      };
      for (llvm::PHINode& phi : loop->getHeader()->phis()) {
        add(phi, evolution_.isSCEVable(phi.getType()) && llvm::isa<llvm::SCEVAddRecExpr>(evolution_.getSCEV(&phi)));
      }
      std::set<const llvm::Value*> outside;
      for (const llvm::BasicBlock* block : loop->blocks()) {
        for (const llvm::Instruction& instruction : *block) {
          if (llvm::isa<llvm::LoadInst>(instruction) && loops_.getLoopFor(block) == loop) add(instruction, false);
          for (const llvm::Value* operand : instruction.operands()) {
            const auto* by = llvm::dyn_cast<llvm::Instruction>(operand);
            if (by && !loop->contains(by) && outside.insert(by).second) add(*by, !by->getType()->isFPOrFPVectorTy());
          }
        }
      }
      most = std::max(most, registers);
    }
    return most;
  }

  // Along these axes results may go different ways.
  Axes DividedBy(const llvm::Instruction& end) {
    if (llvm::isa<llvm::ReturnInst>(end) || &end == facts_.agreement) return 0;
    const auto* branch = llvm::dyn_cast<llvm::BranchInst>(&end);
    if (!branch) return end.getNumSuccessors() == 0 ? 0 : kByRow | kByColumn;
    if (!branch->isConditional()) return 0;
    const Axes axes = facts_.dependence.Of(branch->getCondition());
    return axes == 0 ? axes : axes & LengthAxes(*end.getParent());
  }

  // On which the number of iterations depends after which a loop ends here.
  Axes LengthAxes(const llvm::BasicBlock& block) {
    const llvm::Loop* loop = loops_.getLoopFor(&block);
    if (!loop || !loop->isLoopExiting(&block)) return kByRow | kByColumn;
    const llvm::SCEV* length = evolution_.getExitCount(loop, &block);
    if (llvm::isa<llvm::SCEVCouldNotCompute>(length)) return kByRow | kByColumn;
    Axes axes = 0;
    llvm::SCEVExprContains(length, [&](const llvm::SCEV* part) {
      if (const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(part)) axes |= facts_.dependence.Of(unknown->getValue());
      return false;
    });
    return axes;
  }

  llvm::Function& function_;
  const TileFacts& facts_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
};

}  // namespace

TileShape ChooseShape(llvm::Function& function, const TileFacts& facts, Analyses& analyses) {
  return ShapeChooser(function, facts, analyses).Choose();
}

}  // namespace tracelift::jit

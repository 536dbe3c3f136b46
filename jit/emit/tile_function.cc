// From one result to several, in four steps.
//
// 1. The function is brought into the form in which its accesses can be told apart: what is the same in all iterations lies ahead of
//    the loops, sums are in registers, short loops are straight.
// 2. Tests of the place in the grid ("has this pass so many iterations?") move to the beginning: where all results of a thread pass
//    them, which they do but at the edges of triangles, the code behind takes one way. Where one does not, nothing was done yet.
// 3. What is left is looked at along each axis of the grid: a loop whose length depends on the row, or a branch on data, allows no
//    rows side by side. Of the shapes that are possible the one is taken with the fewest accesses for each result; where these are
//    not much fewer than a single result makes, as for all that only streams through memory, there is none.
// 4. The results are put side by side (jit/emit/jam_results.h).
//
// Where the grid ends threads do results that others do as well (jit/emit/kernel_function.cc). What updates memory in place stores only
// its own.
#include "jit/emit/tile_function.h"

#include <llvm/ADT/PostOrderIterator.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/PostDominators.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <vector>

#include "jit/emit/host_target.h"
#include "jit/emit/jam_results.h"
#include "jit/emit/kernel_plan.h"
#include "jit/emit/loop_hints.h"
#include "jit/emit/sink_nan_tests.h"

namespace tracelift::jit {
namespace {

constexpr char kPasses[] =
    "sroa,early-cse<memssa>,simplifycfg,instcombine<no-verify-fixpoint>,reassociate,"
    "loop-mssa(loop-instsimplify,loop-simplifycfg,licm<no-allowspeculation>,loop-rotate<header-duplication>,licm<allowspeculation>),"
    "simplifycfg,instcombine<no-verify-fixpoint>,loop(indvars,loop-deletion,loop-unroll-full),"
    "sroa,gvn,sccp,bdce,instcombine<no-verify-fixpoint>,adce,dse,loop-mssa(licm<allowspeculation>),simplifycfg,loop-simplify,lcssa";

constexpr std::array<int, 3> kSides = {1, 2, 4};
constexpr size_t kMostInstructions = 3000;
constexpr double kIterations = 16;    // of a loop, for weighing what is in it
constexpr double kFewest = 8;         // accesses of a result; who makes less streams
constexpr double kWorthIt = 0.7;      // of those of a result by itself
constexpr double kAsGood = 1.1;       // then fewer results are better: more threads
constexpr int kMostRegisters = 72;    // of 32 bits, for what a loop keeps
constexpr unsigned kUnrolled = 256;   // instructions of a loop's iterations side by side, so that reads are under way early: at most
constexpr unsigned kMostUnrolled = 4; // iterations

constexpr char kSureMarker[] = "tl.sure";  // behind which the place in the grid is one that has been asked for

bool IsOfLaunch(const llvm::Instruction& read) { return read.hasMetadata(llvm::LLVMContext::MD_invariant_load); }

class TileMaker {
 public:
  TileMaker(llvm::Function& result, const Kernel& kernel) : kernel_(kernel), analyses_(nullptr) {
    Clone(result);
    const auto dims = DimsFromInside(kernel);
    column_ = function_->getArg(1u + dims[0]);
    row_ = kernel.inner_dims > 0 ? function_->getArg(1u + dims[1]) : nullptr;
  }

  TileFunction Make() {
    ForgetHints();
    Simplify();
    if (MakePlacesSure()) Simplify();
    SinkNaNTests(*function_, analyses_);
    TileFunction tile = GiveUpUnlessSure() ? Choose() : TileFunction{};
    if (tile.rows * tile.columns == 1) {
      function_->eraseFromParent();
      return {};
    }
    const auto own_from = [this, twice = CanBeDoneTwice()](unsigned argument) { return twice ? nullptr : function_->getArg(argument); };
    JamResults(*function_, Evolution(), Dependence(),
               {.rows = tile.rows, .columns = tile.columns, .column_distance = TileOf(kernel_).x, .row = row_, .column = column_,
                .first_row = own_from(kFirstRow), .first_column = own_from(kFirstColumn), .agreement = agreement_});
    tile.function = function_;
    Unroll();
    return tile;
  }

 private:
  static constexpr unsigned kFirstRow = 1 + kMaxGridDims, kFirstColumn = kFirstRow + 1;

  llvm::ScalarEvolution& Evolution() { return analyses_.function.getResult<llvm::ScalarEvolutionAnalysis>(*function_); }
  GridDependence Dependence() { return GridDependence(*function_, row_, column_, Evolution()); }

  void Clone(llvm::Function& result) {
    std::vector<llvm::Type*> types(result.getFunctionType()->params());
    types.resize(kFirstColumn + 1, llvm::Type::getInt64Ty(result.getContext()));
    auto* type = llvm::FunctionType::get(result.getReturnType(), types, false);
    function_ = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, "tile", result.getParent());
    llvm::ValueToValueMapTy map;
    for (llvm::Argument& argument : result.args()) map[&argument] = function_->getArg(argument.getArgNo());
    llvm::SmallVector<llvm::ReturnInst*, 4> returns;
    llvm::CloneFunctionInto(function_, &result, map, llvm::CloneFunctionChangeType::LocalChangesOnly, returns);
  }

  // They are about cores.
  void ForgetHints() {
    for (llvm::Loop* loop : analyses_.function.getResult<llvm::LoopAnalysis>(*function_).getLoopsInPreorder()) loop->setLoopID(nullptr);
  }

  void Unroll() {
    analyses_.function.clear();
    for (llvm::Loop* loop : analyses_.function.getResult<llvm::LoopAnalysis>(*function_).getLoopsInPreorder()) {
      unsigned instructions = 0, iterations = 1;
      for (const llvm::BasicBlock* block : loop->blocks()) instructions += static_cast<unsigned>(block->size());
      while (iterations < kMostUnrolled && 2 * iterations * instructions <= kUnrolled) iterations *= 2;
      if (loop->isInnermost()) RepeatBody(*loop, iterations);
    }
  }

  void Simplify() {
    analyses_.function.clear();
    llvm::PassBuilder builder;
    llvm::FunctionPassManager passes;
    llvm::cantFail(builder.parsePassPipeline(passes, kPasses));
    passes.run(*function_, analyses_.function);
    analyses_.function.clear();
  }

  // Computed from what is known when the function begins: its arguments, and what a launch tells, which can be read at any time.
  bool CanHoist(llvm::Value* value) const {
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (!instruction || instruction->getParent() == &function_->getEntryBlock()) return true;
    const bool is_safe = IsOfLaunch(*instruction) || (!instruction->mayReadOrWriteMemory() && llvm::isSafeToSpeculativelyExecute(instruction));
    if (llvm::isa<llvm::PHINode>(instruction) || !is_safe) return false;
    return llvm::all_of(instruction->operands(), [&](const llvm::Use& operand) { return CanHoist(operand.get()); });
  }
  void Hoist(llvm::Instruction& instruction, llvm::Instruction* before) {
    if (instruction.getParent() == before->getParent()) return;
    for (llvm::Use& operand : instruction.operands()) {
      if (auto* by = llvm::dyn_cast<llvm::Instruction>(operand.get())) Hoist(*by, before);
    }
    instruction.moveBefore(before);
    if (!IsOfLaunch(instruction)) instruction.dropUBImplyingAttrsAndMetadata();
  }

  // A branch that skips something: the way through it. Null when either way does something.
  static llvm::BasicBlock* WayThrough(const llvm::BranchInst& branch, const llvm::PostDominatorTree& behind) {
    llvm::BasicBlock *a = branch.getSuccessor(0), *b = branch.getSuccessor(1);
    const auto skips = [&](const llvm::BasicBlock* to, const llvm::BasicBlock* from) {
      return behind.dominates(to, from) || (llvm::isa<llvm::ReturnInst>(to->getTerminator()) && to->sizeWithoutDebug() <= 2);
    };
    if (skips(b, a)) return a;
    return skips(a, b) ? b : nullptr;
  }

  bool MakePlacesSure() {
    const GridDependence dependence = Dependence();
    const llvm::PostDominatorTree behind(*function_);
    std::vector<std::pair<llvm::BranchInst*, llvm::BasicBlock*>> tests;
    for (llvm::BasicBlock* block : llvm::ReversePostOrderTraversal<llvm::Function*>(function_)) {  // what a test relies on comes first
      auto* branch = llvm::dyn_cast<llvm::BranchInst>(block->getTerminator());
      if (!branch || !branch->isConditional() || dependence.Of(branch->getCondition()) == 0 || !CanHoist(branch->getCondition())) continue;
      if (llvm::BasicBlock* through = WayThrough(*branch, behind)) tests.emplace_back(branch, through);
    }
    if (tests.empty()) return false;
    llvm::Instruction* at = function_->getEntryBlock().getTerminator();
    llvm::IRBuilder<> builder(function_->getContext());
    llvm::Value* sure = builder.getTrue();
    for (const auto& [branch, through] : tests) {
      llvm::Value* condition = branch->getCondition();
      if (auto* by = llvm::dyn_cast<llvm::Instruction>(condition)) Hoist(*by, at);
      builder.SetInsertPoint(at);
      sure = builder.CreateLogicalAnd(sure, branch->getSuccessor(0) == through ? condition : builder.CreateNot(condition));
    }
    builder.CreateCall(SureMarker(), {sure});
    for (const auto& [branch, through] : tests) {
      branch->getSuccessor(branch->getSuccessor(0) == through ? 1 : 0)->removePredecessor(branch->getParent());
      llvm::IRBuilder<>(branch).CreateBr(through);
      branch->eraseFromParent();
    }
    return true;
  }

  // To the optimiser, a function that does something somewhere.
  llvm::FunctionCallee SureMarker() {
    llvm::LLVMContext& context = function_->getContext();
    auto* type = llvm::FunctionType::get(llvm::Type::getVoidTy(context), {llvm::Type::getInt1Ty(context)}, false);
    llvm::FunctionCallee marker = function_->getParent()->getOrInsertFunction(kSureMarker, type);
    auto* declared = llvm::cast<llvm::Function>(marker.getCallee());
    declared->setMemoryEffects(llvm::MemoryEffects::inaccessibleMemOnly());
    for (const auto attribute : {llvm::Attribute::NoUnwind, llvm::Attribute::WillReturn, llvm::Attribute::NoDuplicate}) declared->addFnAttr(attribute);
    return marker;
  }

  // False when something of the program's is read ahead of the test.
  bool GiveUpUnlessSure() {
    llvm::Function* declared = function_->getParent()->getFunction(kSureMarker);
    if (!declared) return true;
    auto* marker = llvm::cast<llvm::CallInst>(declared->user_back());
    const bool is_first = marker->getParent() == &function_->getEntryBlock() &&
                          llvm::none_of(llvm::make_range(marker->getParent()->begin(), marker->getIterator()), [](const llvm::Instruction& ahead) {
                            return ahead.mayReadOrWriteMemory() && !IsOfLaunch(ahead) && !llvm::isAssumeLikeIntrinsic(&ahead);
                          });
    llvm::Value* sure = marker->getArgOperand(0);
    if (is_first) {
      llvm::IRBuilder<> builder(function_->getContext());
      llvm::BasicBlock* body = llvm::SplitBlock(marker->getParent(), marker);
      llvm::BasicBlock* give_up = llvm::BasicBlock::Create(function_->getContext(), "", function_);
      builder.SetInsertPoint(give_up);
      builder.CreateRet(builder.getInt32(kNotTogether));
      llvm::Instruction* end = function_->getEntryBlock().getTerminator();
      builder.SetInsertPoint(end);
      agreement_ = builder.CreateCondBr(builder.CreateFreeze(sure), body, give_up);
      end->eraseFromParent();
    }
    marker->eraseFromParent();
    declared->eraseFromParent();
    analyses_.function.clear();
    return is_first;
  }

  // What it writes it does not read: where two threads do one result, both store the same.
  bool CanBeDoneTwice() const {
    std::set<int> read, written;
    for (const llvm::Instruction& instruction : llvm::instructions(*function_)) {
      if (llvm::isa<llvm::StoreInst>(instruction)) written.insert(MemoryOf(instruction).memory);
      if (llvm::isa<llvm::LoadInst>(instruction) && !IsOfLaunch(instruction)) read.insert(MemoryOf(instruction).memory);
    }
    const auto is_known = [](const std::set<int>& memories) { return !memories.contains(-1); };
    return is_known(read) && is_known(written) && llvm::none_of(written, [&](int memory) { return read.contains(memory); });
  }

  struct Access {
    Axes axes;
    double weight;
  };

  TileFunction Choose() {
    const GridDependence dependence = Dependence();
    const auto& loops = analyses_.function.getResult<llvm::LoopAnalysis>(*function_);
    Axes possible = static_cast<Axes>((row_ ? kByRow : 0) | kByColumn);
    std::vector<Access> accesses;
    size_t instructions = 0;
    for (llvm::BasicBlock& block : *function_) {
      possible &= static_cast<Axes>(~DividedBy(*block.getTerminator(), dependence));
      for (llvm::Instruction& instruction : block) {
        ++instructions;
        if (IsOfLaunch(instruction)) continue;
        const double weight = std::pow(kIterations, loops.getLoopDepth(&block));
        if (llvm::isa<llvm::StoreInst>(instruction)) {
          possible &= dependence.Of(instruction.getOperand(1));
          accesses.push_back({kByRow | kByColumn, weight});
        } else if (llvm::isa<llvm::LoadInst>(instruction)) {
          accesses.push_back({dependence.Of(&instruction), weight});
        } else if (llvm::isa<llvm::AllocaInst>(instruction) || (instruction.mayReadOrWriteMemory() && !llvm::isAssumeLikeIntrinsic(&instruction))) {
          return {};
        }
      }
    }
    double alone = 0;
    for (const Access& access : accesses) alone += access.weight;
    if (alone < kFewest) return {};
    return BestShape(possible, accesses, alone, instructions, dependence, loops);
  }

  TileFunction BestShape(Axes possible, const std::vector<Access>& accesses, double alone, size_t instructions, const GridDependence& dependence,
                         const llvm::LoopInfo& loops) const {
    TileFunction best;
    double least = kWorthIt * alone;
    for (const bool settles : {false, true}) {
      for (const int rows : kSides) {
        for (const int columns : kSides) {
          const TileFunction shape{rows, columns};
          const int results = rows * columns;
          if ((rows > 1 && !(possible & kByRow)) || (columns > 1 && !(possible & kByColumn))) continue;
          if (instructions * static_cast<size_t>(results) > kMostInstructions || RegistersOf(shape, dependence, loops) > kMostRegisters) continue;
          double all = 0;
          for (const Access& access : accesses) all += access.weight * CopiesOf(access.axes, shape);
          const double each = all / results;
          if (!settles && each <= least) least = each;
          const bool is_smaller = best.rows * best.columns == 1 || results < best.rows * best.columns || (results == best.rows * best.columns && rows > best.rows);
          if (settles && results > 1 && each <= least * kAsGood && each <= kWorthIt * alone && is_smaller) best = shape;
        }
      }
    }
    return best;
  }

  static int CopiesOf(Axes axes, const TileFunction& shape) { return (axes & kByRow ? shape.rows : 1) * (axes & kByColumn ? shape.columns : 1); }

  // About what a loop needs: what it carries on, reads, and has got from outside. Numbers of one address differ by constants, mostly.
  int RegistersOf(const TileFunction& shape, const GridDependence& dependence, const llvm::LoopInfo& loops) const {
    int most = 0;
    for (const llvm::Loop* loop : loops.getLoopsInPreorder()) {
      int registers = 0;
      const auto add = [&](const llvm::Value& value) {
        const bool is_float = value.getType()->isFPOrFPVectorTy();
        const uint64_t bits = function_->getParent()->getDataLayout().getTypeSizeInBits(value.getType()).getFixedValue();
        registers += (is_float ? CopiesOf(dependence.Of(&value), shape) : 1) * static_cast<int>((bits + 31) / 32);
      };
      std::set<const llvm::Value*> outside;
      for (const llvm::PHINode& phi : loop->getHeader()->phis()) add(phi);
      for (const llvm::BasicBlock* block : loop->blocks()) {
        for (const llvm::Instruction& instruction : *block) {
          if (llvm::isa<llvm::LoadInst>(instruction) && loops.getLoopFor(block) == loop) add(instruction);
          for (const llvm::Value* operand : instruction.operands()) {
            const auto* by = llvm::dyn_cast<llvm::Instruction>(operand);
            if (by && !loop->contains(by) && outside.insert(by).second) add(*by);
          }
        }
      }
      most = std::max(most, registers);
    }
    return most;
  }

  // Along these axes results may go different ways.
  Axes DividedBy(const llvm::Instruction& end, const GridDependence& dependence) {
    if (llvm::isa<llvm::ReturnInst>(end) || &end == agreement_) return 0;
    const auto* branch = llvm::dyn_cast<llvm::BranchInst>(&end);
    if (!branch) return end.getNumSuccessors() == 0 ? 0 : kByRow | kByColumn;
    if (!branch->isConditional()) return 0;
    const Axes axes = dependence.Of(branch->getCondition());
    return axes == 0 ? axes : axes & LengthAxes(*end.getParent(), dependence);
  }

  // On which the number of iterations depends after which a loop ends here.
  Axes LengthAxes(const llvm::BasicBlock& block, const GridDependence& dependence) {
    const llvm::Loop* loop = analyses_.function.getResult<llvm::LoopAnalysis>(*function_).getLoopFor(&block);
    if (!loop || !loop->isLoopExiting(&block)) return kByRow | kByColumn;
    const llvm::SCEV* length = Evolution().getExitCount(loop, &block);
    if (llvm::isa<llvm::SCEVCouldNotCompute>(length)) return kByRow | kByColumn;
    Axes axes = 0;
    llvm::SCEVExprContains(length, [&](const llvm::SCEV* part) {
      if (const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(part)) axes |= dependence.Of(unknown->getValue());
      return false;
    });
    return axes;
  }

  const Kernel& kernel_;
  Analyses analyses_;
  llvm::Function* function_ = nullptr;
  llvm::Argument *row_ = nullptr, *column_ = nullptr;
  llvm::BranchInst* agreement_ = nullptr;
};

}  // namespace

TileFunction MakeTileFunction(llvm::Function& result, const Kernel& kernel) {
  if (kernel.ordered) return {};  // each thread does all passes: there are few
  return TileMaker(result, kernel).Make();
}

}  // namespace tracelift::jit

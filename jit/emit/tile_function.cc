// From one result to several, in four steps.
//
// 1. The function is brought into the form in which its accesses can be told apart: what is the same in all iterations lies ahead of
//    the loops, sums are in registers, short loops are straight.
// 2. Tests of the place in the grid ("has this pass so many iterations?") move to the beginning: where all results of a thread pass
//    them, which they do but at the edges of triangles, the code behind takes one way. Where one does not, nothing was done yet.
// 3. Of the shapes that are possible one is chosen, or none (jit/emit/tile_shape.h).
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
#include <llvm/IR/Module.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <algorithm>
#include <set>
#include <vector>

#include "jit/emit/host_target.h"
#include "jit/emit/jam_results.h"
#include "jit/emit/kernel_plan.h"
#include "jit/emit/result_function.h"
#include "jit/emit/loop_hints.h"
#include "jit/emit/sink_nan_tests.h"

namespace tracelift::jit {
namespace {

constexpr char kPasses[] =
    "sroa,early-cse<memssa>,simplifycfg,instcombine<no-verify-fixpoint>,reassociate,"
    "loop-mssa(loop-instsimplify,loop-simplifycfg,licm<no-allowspeculation>,loop-rotate<header-duplication>,licm<allowspeculation>),"
    "simplifycfg,instcombine<no-verify-fixpoint>,loop(indvars,loop-deletion,loop-unroll-full),"
    "sroa,gvn,sccp,bdce,instcombine<no-verify-fixpoint>,adce,dse,loop-mssa(licm<allowspeculation>),simplifycfg,loop-simplify,lcssa";

constexpr unsigned kUnrolled = 256;   // instructions of a loop's iterations side by side, so that reads are under way early: at most
constexpr unsigned kMostUnrolled = 4; // iterations

constexpr char kSureMarker[] = "tl.sure";  // behind which the place in the grid is one that has been asked for

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
    const TileShape shape = GiveUpUnlessSure() ? ChooseShape(*function_, {Dependence(), row_ != nullptr, agreement_}, analyses_) : TileShape{};
    if (shape.results() == 1) {
      function_->eraseFromParent();
      return {};
    }
    const auto own_from = [this, twice = CanBeDoneTwice()](unsigned argument) { return twice ? nullptr : function_->getArg(argument); };
    JamResults(*function_, Evolution(), Dependence(),
               {.rows = shape.rows, .columns = shape.columns, .column_distance = TileOf(kernel_).x, .row = row_, .column = column_,
                .first_row = own_from(kFirstRow), .first_column = own_from(kFirstColumn), .agreement = agreement_});
    Unroll();
    return {shape, function_};
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

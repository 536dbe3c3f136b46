#include "jit/emit/keep_results.h"

#include <llvm/Analysis/AliasAnalysis.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <llvm/Transforms/Utils/LoopUtils.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <algorithm>
#include <vector>

#include "jit/emit/loop_hints.h"
#include "jit/emit/seen_footprint.h"

namespace tracelift::jit {
namespace {

constexpr size_t kMostResults = 4, kMostChecks = 12, kMostInstructions = 200;

struct Access {
  llvm::Instruction* instruction;
  const llvm::SCEV* pointer;
  bool writes;
};

// A place that the loop writes in each iteration, and what else might touch it.
struct Result {
  const llvm::SCEV* pointer;
  llvm::Instruction* store;
  std::vector<const Access*> others;
};

class Versioner {
 public:
  Versioner(llvm::Loop& loop, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution, llvm::DominatorTree& dominators,
            llvm::AAResults& aliases)
      : loop_(loop),
        loops_(loops),
        evolution_(evolution),
        dominators_(dominators),
        aliases_(aliases),
        expander_(evolution, loop.getHeader()->getModule()->getDataLayout(), "apart") {}

  bool CanVersion() {
    if (!loop_.isInnermost() || !loop_.getLoopPreheader() || !loop_.getLoopLatch() ||
        loop_.getExitingBlock() != loop_.getLoopLatch() || !loop_.getExitBlock() || !loop_.hasDedicatedExits())
      return false;
    taken_ = evolution_.getBackedgeTakenCount(&loop_);
    if (llvm::isa<llvm::SCEVCouldNotCompute>(taken_) || taken_->getType()->getIntegerBitWidth() > 64 ||
        !IsKnownAhead(taken_))
      return false;
    return FindAccesses() && FindResults();
  }

  void Version() {
    llvm::BasicBlock* check = loop_.getLoopPreheader();
    llvm::Value* apart = Check(check->getTerminator());
    expander_.clear();
    llvm::BasicBlock* ahead = llvm::SplitBlock(check, check->getTerminator(), &dominators_, &loops_, nullptr, "apart");
    llvm::ValueToValueMapTy map;
    llvm::SmallVector<llvm::BasicBlock*, 8> blocks;
    llvm::Loop* otherwise =
        llvm::cloneLoopWithPreheader(ahead, check, &loop_, map, ".together", &loops_, &dominators_, blocks);
    llvm::remapInstructionsInBlocks(blocks, map);
    llvm::Instruction* old = check->getTerminator();
    llvm::IRBuilder<>(old).CreateCondBr(apart, ahead, otherwise->getLoopPreheader());
    old->eraseFromParent();
    llvm::BasicBlock* exit = loop_.getExitBlock();
    for (llvm::PHINode& phi : exit->phis()) {
      llvm::Value* value = phi.getIncomingValueForBlock(loop_.getLoopLatch());
      const auto copy = map.find(value);
      phi.addIncoming(copy == map.end() ? value : static_cast<llvm::Value*>(copy->second), otherwise->getLoopLatch());
    }
    Separate();
    KeepWhole(*otherwise);
    llvm::addStringMetadataToLoop(otherwise, "llvm.loop.isvectorized", 1);
  }

 private:
  bool IsKnownAhead(const llvm::SCEV* value) {
    return evolution_.isLoopInvariant(value, &loop_) &&
           expander_.isSafeToExpandAt(value, loop_.getLoopPreheader()->getTerminator());
  }

  bool FindAccesses() {
    size_t instructions = 0;
    for (llvm::BasicBlock* block : loop_.blocks()) {
      for (llvm::Instruction& instruction : *block) {
        ++instructions;
        if (!instruction.mayReadOrWriteMemory()) continue;
        llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction);
        if (!pointer || instruction.isVolatile() || instruction.isAtomic()) return false;
        accesses_.push_back({&instruction, evolution_.getSCEV(pointer), llvm::isa<llvm::StoreInst>(instruction)});
      }
    }
    return instructions <= kMostInstructions;
  }

  bool FindResults() {
    size_t checks = 0;
    for (const Access& store : accesses_) {
      if (!store.writes || !IsKnownAhead(store.pointer)) continue;
      if (!dominators_.dominates(store.instruction->getParent(), loop_.getLoopLatch())) continue;
      const auto same = [&](const Access& access) { return access.pointer == store.pointer; };
      if (std::ranges::any_of(results_, [&](const Result& known) { return known.pointer == store.pointer; })) continue;
      llvm::Type* type = llvm::getLoadStoreType(store.instruction);
      const bool of_one_type = std::ranges::all_of(accesses_, [&](const Access& access) {
        return !same(access) || llvm::getLoadStoreType(access.instruction) == type;
      });
      if (!of_one_type) continue;
      Result result{store.pointer, store.instruction, {}};
      bool can_check = true;
      for (const Access& other : accesses_) {
        if (same(other) || aliases_.isNoAlias(llvm::MemoryLocation::get(store.instruction),
                                              llvm::MemoryLocation::get(other.instruction)))
          continue;
        result.others.push_back(&other);
        can_check = can_check && HasBounds(other);
      }
      // Without doubtful ones LICM needs no help.
      if (!can_check || result.others.empty()) continue;
      checks += result.others.size();
      results_.push_back(std::move(result));
    }
    return !results_.empty() && results_.size() <= kMostResults && checks <= kMostChecks;
  }

  bool HasBounds(const Access& access) {
    if (IsKnownAhead(access.pointer)) return true;
    const auto* row = llvm::dyn_cast<llvm::SCEVAddRecExpr>(access.pointer);
    return row && row->getLoop() == &loop_ && row->isAffine() && IsKnownAhead(row->getStart()) &&
           llvm::isa<llvm::SCEVConstant>(row->getStepRecurrence(evolution_));
  }

  struct Bytes {
    llvm::Value *begin, *end;
  };

  Bytes BytesOf(llvm::Instruction* access, const llvm::SCEV* pointer, llvm::Instruction* where) {
    llvm::IRBuilder<> builder(where);
    llvm::Type* i64 = builder.getInt64Ty();
    const uint64_t size = access->getModule()->getDataLayout().getTypeStoreSize(llvm::getLoadStoreType(access));
    const auto* row = llvm::dyn_cast<llvm::SCEVAddRecExpr>(pointer);
    if (row && row->getLoop() != &loop_) row = nullptr;
    const llvm::SCEV* start = row ? row->getStart() : pointer;
    llvm::Value* first = expander_.expandCodeFor(start, start->getType(), where);
    builder.SetInsertPoint(where);
    if (first->getType()->isPointerTy()) first = builder.CreatePtrToInt(first, i64);
    llvm::Value* last = first;
    bool backwards = false;
    if (row) {
      const llvm::APInt step = llvm::cast<llvm::SCEVConstant>(row->getStepRecurrence(evolution_))->getAPInt();
      backwards = step.isNegative();
      llvm::Value* times = builder.CreateZExt(expander_.expandCodeFor(taken_, taken_->getType(), where), i64);
      last = builder.CreateAdd(first, builder.CreateMul(times, builder.getInt64(step.getSExtValue())));
    }
    return {backwards ? last : first, builder.CreateAdd(backwards ? first : last, builder.getInt64(size))};
  }

  // All that the loop reads and writes is mapped, so no end of a range wraps.
  llvm::Value* Check(llvm::Instruction* where) {
    std::vector<llvm::Value*> facts;
    for (const Result& result : results_) {
      const Bytes own = BytesOf(result.store, result.pointer, where);
      for (const Access* other : result.others) {
        const Bytes theirs = BytesOf(other->instruction, other->pointer, where);
        llvm::IRBuilder<> builder(where);
        facts.push_back(builder.CreateOr(builder.CreateICmpULE(own.end, theirs.begin),
                                         builder.CreateICmpULE(theirs.end, own.begin)));
      }
    }
    return llvm::IRBuilder<>(where).CreateAnd(facts);
  }

  void Separate() {
    llvm::LLVMContext& context = loop_.getHeader()->getContext();
    llvm::MDBuilder metadata(context);
    llvm::MDNode* domain = metadata.createAnonymousAliasScopeDomain("results");
    for (const Result& result : results_) {
      llvm::MDNode* scope = llvm::MDNode::get(context, {metadata.createAnonymousAliasScope(domain)});
      for (const Access& access : accesses_) {
        if (access.pointer == result.pointer) AddScopes(*access.instruction, scope, nullptr);
      }
      for (const Access* other : result.others) AddScopes(*other->instruction, nullptr, scope);
    }
  }

  llvm::Loop& loop_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  llvm::DominatorTree& dominators_;
  llvm::AAResults& aliases_;
  llvm::SCEVExpander expander_;
  const llvm::SCEV* taken_ = nullptr;
  std::vector<Access> accesses_;
  std::vector<Result> results_;
};

}  // namespace

void KeepResultsInRegisters(llvm::Function& function, Analyses& analyses) {
  analyses.function.clear();
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  auto& dominators = analyses.function.getResult<llvm::DominatorTreeAnalysis>(function);
  auto& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
  auto& aliases = analyses.function.getResult<llvm::AAManager>(function);
  std::vector<llvm::Loop*> innermost;
  for (llvm::Loop* loop : loops.getLoopsInPreorder()) {
    if (loop->isInnermost()) innermost.push_back(loop);
  }
  for (llvm::Loop* loop : innermost) {
    Versioner versioner(*loop, loops, evolution, dominators, aliases);
    if (!versioner.CanVersion()) continue;
    llvm::formLCSSA(*loop, dominators, &loops, &evolution);
    versioner.Version();
    evolution.forgetLoop(loop);
  }
  analyses.function.clear();
}

}  // namespace tracelift::jit

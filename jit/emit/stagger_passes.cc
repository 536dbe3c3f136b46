#include "jit/emit/stagger_passes.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <llvm/Transforms/Utils/Local.h>
#include <llvm/Transforms/Utils/PromoteMemToReg.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <map>
#include <optional>
#include <vector>

#include "jit/emit/carry_loads.h"
#include "jit/emit/handed_reads.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/reduce_by_pass.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

// Where the inner loop ends: left from one block, which every iteration comes by, and else only for good.
struct InnerEnd {
  llvm::BasicBlock* from = nullptr;
  llvm::BasicBlock* to = nullptr;
};

std::optional<InnerEnd> EndOfInner(const llvm::Loop& inner, const llvm::Loop& region) {
  InnerEnd end;
  llvm::SmallVector<llvm::Loop::Edge, 8> exits;
  inner.getExitEdges(exits);
  for (const auto& [from, to] : exits) {
    if (!region.contains(to)) {
      if (!to->phis().empty()) return std::nullopt;
      continue;
    }
    if (end.from) return std::nullopt;
    end = {const_cast<llvm::BasicBlock*>(from), const_cast<llvm::BasicBlock*>(to)};
  }
  if (!end.from || !llvm::isa<llvm::BranchInst>(end.from->getTerminator())) return std::nullopt;
  llvm::DominatorTree dominators(*end.from->getParent());
  return dominators.dominates(end.from, inner.getLoopLatch()) ? std::optional(end) : std::nullopt;
}

// Where an iteration goes on from there to the next; null when anything but arithmetic is on the way.
llvm::BasicBlock* WayBack(const llvm::Loop& inner, const InnerEnd& end) {
  llvm::DominatorTree dominators(*end.from->getParent());
  const bool only_computes = llvm::all_of(inner.blocks(), [&](llvm::BasicBlock* block) {
    return !dominators.properlyDominates(end.from, block) ||
           llvm::none_of(*block, [](const llvm::Instruction& value) { return value.mayReadOrWriteMemory(); });
  });
  const llvm::Instruction* branch = end.from->getTerminator();
  return only_computes ? branch->getSuccessor(branch->getSuccessor(0) == end.to ? 1 : 0) : nullptr;
}

// How often the inner loop goes round again; null when that is not the same in all passes.
const llvm::SCEV* CountOfInner(llvm::Loop& inner, llvm::Loop& region, llvm::ScalarEvolution& evolution) {
  const std::optional<InnerEnd> end = EndOfInner(inner, region);
  if (!end || !WayBack(inner, *end)) return nullptr;
  const llvm::SCEV* taken = evolution.getExitCount(&inner, end->from);
  return llvm::isa<llvm::SCEVCouldNotCompute>(taken) || !evolution.isLoopInvariant(taken, &region) ? nullptr : taken;
}

class Stagger {
 public:
  Stagger(llvm::Function& function, llvm::Loop& region, llvm::Loop& inner, llvm::ScalarEvolution& evolution)
      : function_(function),
        region_(region),
        inner_(inner),
        evolution_(evolution),
        header_(region.getHeader()),
        ahead_(llvm::cast<llvm::BranchInst>(header_->getTerminator())->getSuccessor(0)),
        builder_(function.getContext()) {}

  bool Run(unsigned lanes, unsigned skew, const std::vector<llvm::PHINode*>& reduced) {
    reduced_ = reduced;
    if (!FindCounters() || !ExpandCount()) return false;
    StartAfresh();
    AddressByPass();
    HoistArithmetic();
    KeepInMemory();
    KeepForNextLane();
    Rewire(lanes, skew);
    llvm::DominatorTree dominators(function_);
    llvm::PromoteMemToReg(kept_, dominators);
    return true;
  }

 private:
  // What the region's header has is a counter with a constant step, or a value that matters at the end only, of which
  // nothing is asked.
  bool FindCounters() {
    for (llvm::PHINode& phi : header_->phis()) {
      const auto* recurrence = evolution_.isSCEVable(phi.getType())
                                   ? llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution_.getSCEV(&phi))
                                   : nullptr;
      if (!recurrence || recurrence->getLoop() != &region_) {
        if (!KeptValueOf(&phi, &region_)) {
          if (!llvm::is_contained(reduced_, &phi)) return false;
          continue;
        }
        kept_values_.push_back(&phi);
        continue;
      }
      const auto* step = llvm::dyn_cast<llvm::SCEVConstant>(recurrence->getStepRecurrence(evolution_));
      if (!step || !recurrence->isAffine()) return false;
      counters_.emplace_back(&phi, step->getAPInt().getSExtValue());
      const bool from_zero = recurrence->getStart()->isZero() && step->isOne() && phi.getType()->isIntegerTy(64);
      if (from_zero && !pass_) pass_ = &phi;
    }
    return pass_ != nullptr;
  }

  // Each pass reduces what it meets itself (ReduceByPass).
  void StartAfresh() {
    for (llvm::PHINode* phi : reduced_) {
      phi->replaceAllUsesWith(phi->getIncomingValueForBlock(region_.getLoopPreheader()));
      phi->eraseFromParent();
    }
  }

  bool ExpandCount() {
    llvm::SCEVExpander expander(evolution_, function_.getParent()->getDataLayout(), "wavefront");
    const llvm::SCEV* taken = CountOfInner(inner_, region_, evolution_);
    llvm::Instruction* place = region_.getLoopPreheader()->getTerminator();
    if (!taken || !expander.isSafeToExpandAt(taken, place)) return false;
    llvm::Value* again = expander.expandCodeFor(taken, taken->getType(), place);
    builder_.SetInsertPoint(place);
    last_ = builder_.CreateZExt(again, builder_.getInt64Ty());
    return true;
  }

  // Addresses and counters as functions of what a pass starts with and of the iteration: so lanes need no vectors of
  // them.
  void AddressByPass() {
    iteration_ = new llvm::AllocaInst(llvm::Type::getInt64Ty(function_.getContext()), 0, "iteration",
                                      function_.getEntryBlock().begin());
    kept_.push_back(iteration_);
    llvm::BasicBlock* body = inner_.getHeader();
    builder_.SetInsertPoint(body, body->getFirstInsertionPt());
    llvm::Value* iteration = builder_.CreateLoad(builder_.getInt64Ty(), iteration_);
    llvm::Instruction* place = llvm::cast<llvm::Instruction>(iteration)->getNextNode();
    std::vector<llvm::Instruction*> moving;
    for (llvm::BasicBlock* block : inner_.blocks()) {
      for (llvm::Instruction& instruction : *block) {
        auto* pointer = llvm::dyn_cast_if_present<llvm::Instruction>(llvm::getLoadStorePointerOperand(&instruction));
        if (pointer && inner_.contains(pointer)) moving.push_back(pointer);
      }
    }
    for (llvm::PHINode& phi : body->phis()) moving.push_back(&phi);
    llvm::SCEVExpander expander(evolution_, function_.getParent()->getDataLayout(), "wavefront");
    for (llvm::Instruction* value : moving) {
      if (value->use_empty() || !evolution_.isSCEVable(value->getType())) continue;
      const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution_.getSCEV(value));
      if (!recurrence || recurrence->getLoop() != &inner_ || !recurrence->isAffine()) continue;
      const auto* step = llvm::dyn_cast<llvm::SCEVConstant>(recurrence->getStepRecurrence(evolution_));
      llvm::Instruction* at_start = header_->getTerminator();
      if (!step || !expander.isSafeToExpandAt(recurrence->getStart(), at_start)) continue;
      llvm::Value* start = expander.expandCodeFor(recurrence->getStart(), value->getType(), at_start);
      builder_.SetInsertPoint(place);
      llvm::Value* now = Further(start, step->getAPInt().getSExtValue(), iteration, builder_);
      value->replaceAllUsesWith(now);
    }
    expander.clear();
  }

  // What is computed of counters and of what does not change is the same wherever in the pass that happens.
  void HoistArithmetic() {
    const auto is_early = [&](const llvm::Value* value) {
      const auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
      return !instruction || !region_.contains(instruction) || instruction->getParent() == header_;
    };
    for (bool changed = true; changed;) {
      changed = false;
      for (llvm::BasicBlock* block : region_.blocks()) {
        if (block == header_) continue;
        for (llvm::Instruction& instruction : llvm::make_early_inc_range(*block)) {
          const bool number = instruction.getType()->isIntegerTy() || instruction.getType()->isPointerTy();
          const bool computes = llvm::isa<llvm::BinaryOperator, llvm::CastInst, llvm::GetElementPtrInst>(instruction);
          if (!number || !computes || !llvm::all_of(instruction.operands(), is_early) ||
              !llvm::isSafeToSpeculativelyExecute(&instruction))
            continue;
          instruction.moveBefore(header_->getTerminator());
          changed = true;
        }
      }
    }
  }

  // What one block of a pass hands to another goes through a place of its own, so that blocks can be arranged anew.
  void KeepInMemory() {
    std::vector<llvm::Instruction*> handed_on;
    std::vector<llvm::PHINode*> phis;
    for (llvm::BasicBlock* block : region_.blocks()) {
      if (block == header_) continue;
      for (llvm::Instruction& instruction : *block) {
        if (auto* phi = llvm::dyn_cast<llvm::PHINode>(&instruction)) {
          phis.push_back(phi);
          continue;
        }
        const bool elsewhere = llvm::any_of(instruction.users(), [&](const llvm::User* user) {
          return llvm::cast<llvm::Instruction>(user)->getParent() != block || llvm::isa<llvm::PHINode>(user);
        });
        if (elsewhere) handed_on.push_back(&instruction);
      }
    }
    for (llvm::Instruction* value : handed_on) kept_.push_back(llvm::DemoteRegToStack(*value));
    for (llvm::PHINode* phi : phis) {
      if (llvm::AllocaInst* place = llvm::DemotePHIToStack(phi)) kept_.push_back(place);
    }
  }

  // What marked writes wrote in each of the last steps. A read in the same step finds what is there when that begins.
  void KeepForNextLane() {
    std::map<int, unsigned> steps;
    std::vector<llvm::StoreInst*> writes;
    for (llvm::BasicBlock* block : inner_.blocks()) {
      for (llvm::Instruction& instruction : *block) {
        const int number = HandedNumber(instruction);
        if (number < 0) continue;
        if (auto* write = llvm::dyn_cast<llvm::StoreInst>(&instruction)) {
          writes.push_back(write);
        } else {
          steps[number] = std::max(steps[number], StepsHandedOn(instruction));
        }
      }
    }
    llvm::BasicBlock* body = inner_.getHeader();
    for (llvm::StoreInst* write : writes) {
      const int number = HandedNumber(*write);
      llvm::Type* type = write->getValueOperand()->getType();
      llvm::Value* newer = write->getValueOperand();
      builder_.SetInsertPoint(body, body->getFirstInsertionPt());
      std::vector<llvm::Value*> before;
      std::vector<llvm::AllocaInst*> places;
      for (unsigned step = 0; step < steps[number]; ++step) {
        places.push_back(new llvm::AllocaInst(type, 0, "handed", function_.getEntryBlock().begin()));
        kept_.push_back(places.back());
        before.push_back(builder_.CreateLoad(type, places.back()));
      }
      builder_.SetInsertPoint(write);
      for (unsigned step = 0; step < steps[number]; ++step)
        builder_.CreateStore(step == 0 ? newer : before[step - 1], places[step]);
      handed_[number] = places;
    }
  }

  // Only where all passes are in their inner loops.
  void ReadFromLanes(const std::vector<llvm::BasicBlock*>& blocks) {
    for (llvm::BasicBlock* block : blocks) {
      for (llvm::Instruction& instruction : llvm::make_early_inc_range(*block)) {
        const unsigned steps = StepsHandedOn(instruction);
        if (steps == 0 || !handed_.contains(HandedNumber(instruction))) continue;
        auto& read = llvm::cast<llvm::LoadInst>(instruction);
        llvm::AllocaInst* place = handed_.at(HandedNumber(read))[steps - 1];
        builder_.SetInsertPoint(blocks.front(), blocks.front()->getFirstInsertionPt());
        llvm::Value* value = builder_.CreateLoad(read.getType(), place);
        read.replaceAllUsesWith(FromLaneBefore(read, value));
        read.eraseFromParent();
      }
    }
  }

  llvm::BasicBlock* NewBlock(const char* name) {
    return llvm::BasicBlock::Create(function_.getContext(), name, &function_);
  }

  // A copy of what a pass does, still wired as it was.
  struct Copy {
    llvm::BasicBlock* ahead;              // goes on to the first iteration
    llvm::BasicBlock* next;               // goes on to another one
    llvm::BasicBlock* iteration_end;      // of every one
    llvm::BasicBlock *behind, *pass_end;  // from the first to the last block behind the inner loop
    std::vector<llvm::BasicBlock*> blocks;
  };

  Copy Original() {
    const InnerEnd end = *EndOfInner(inner_, region_);
    return {ahead_, WayBack(inner_, end), end.from, end.to, region_.getLoopLatch(), {}};
  }

  Copy Clone(llvm::ArrayRef<llvm::BasicBlock*> blocks) {
    llvm::ValueToValueMapTy map;
    llvm::SmallVector<llvm::BasicBlock*, 16> clones;
    for (llvm::BasicBlock* block : blocks) {
      clones.push_back(llvm::CloneBasicBlock(block, map, ".copy", &function_));
      map[block] = clones.back();
    }
    llvm::remapInstructionsInBlocks(clones, map);
    const auto copy_of = [&](llvm::BasicBlock* block) {
      return map.count(block) ? llvm::cast<llvm::BasicBlock>(map[block]) : nullptr;
    };
    const Copy from = Original();
    return {copy_of(from.ahead),  copy_of(from.next),     copy_of(from.iteration_end),
            copy_of(from.behind), copy_of(from.pass_end), {clones.begin(), clones.end()}};
  }

  static void EndWith(llvm::BasicBlock* block, llvm::BasicBlock* next) {
    llvm::Instruction* end = block->getTerminator();
    llvm::BranchInst::Create(next, end->getIterator());
    end->eraseFromParent();
  }

  // The steps [first, last) of a pass, at least one, from the builder's place on, where they end again. What a pass
  // does in a step depends on how far it is; in the steady ones all passes are in their inner loops.
  void EmitSteps(const Copy& copy, llvm::Value* first, llvm::Value* last, unsigned skew, bool steady) {
    llvm::BasicBlock *before = builder_.GetInsertBlock(), *step = NewBlock("step"), *done = NewBlock("step.done"),
                     *next = NewBlock("steps.done");
    builder_.CreateBr(step);
    builder_.SetInsertPoint(step);
    llvm::PHINode* steps = builder_.CreatePHI(builder_.getInt64Ty(), 2, "steps");
    steps->addIncoming(first, before);
    llvm::Value* iteration = builder_.CreateSub(steps, builder_.CreateMul(pass_, builder_.getInt64(skew)), "iteration");
    builder_.CreateStore(iteration, iteration_);
    if (steady) {
      builder_.CreateBr(copy.next);
      EndWith(copy.iteration_end, done);
    } else {
      llvm::BasicBlock *within = NewBlock("step.within"), *after = NewBlock("step.after");
      builder_.CreateCondBr(builder_.CreateIsNull(iteration), copy.ahead, within);
      builder_.SetInsertPoint(within);
      builder_.CreateCondBr(builder_.CreateICmpULE(iteration, last_), copy.next, after);
      EndWith(copy.iteration_end, after);
      builder_.SetInsertPoint(after);
      builder_.CreateCondBr(builder_.CreateICmpEQ(iteration, last_), copy.behind, done);
      EndWith(copy.pass_end, done);
    }
    builder_.SetInsertPoint(done);
    llvm::Value* one_more = builder_.CreateAdd(steps, builder_.getInt64(1), "", /*HasNUW=*/true, /*HasNSW=*/true);
    steps->addIncoming(one_more, done);
    builder_.CreateCondBr(builder_.CreateICmpEQ(one_more, last), next, step);
    builder_.SetInsertPoint(next);
  }

  // Until all passes are in their inner loops, while they are, and until the last one is done.
  void Rewire(unsigned lanes, unsigned skew) {
    llvm::BasicBlock *latch = region_.getLoopLatch(), *end = EndOf(region_);
    llvm::SmallVector<llvm::BasicBlock*, 16> pass_blocks;
    for (llvm::BasicBlock* block : region_.blocks()) {
      if (block != header_) pass_blocks.push_back(block);
    }
    const Copy starting = Original(), running = Clone(inner_.getBlocks()), ending = Clone(pass_blocks);
    ReadFromLanes(running.blocks);
    const uint64_t ramp = uint64_t{lanes - 1} * skew;

    builder_.SetInsertPoint(header_->getTerminator());
    for (llvm::AllocaInst* place : kept_)
      builder_.CreateStore(llvm::PoisonValue::get(place->getAllocatedType()), place);
    llvm::Value* started = builder_.getInt64(ramp + 1);
    llvm::Value* runs = builder_.CreateICmpULT(started, last_);
    llvm::Value* first_ends = builder_.CreateSelect(runs, last_, started);
    llvm::Value* all = builder_.CreateAdd(last_, started, "", /*HasNUW=*/true, /*HasNSW=*/true);
    header_->getTerminator()->eraseFromParent();
    builder_.SetInsertPoint(header_);
    EmitSteps(starting, builder_.getInt64(0), started, skew, /*steady=*/false);
    llvm::BasicBlock *run = NewBlock("running"), *finish = NewBlock("ending");
    builder_.CreateCondBr(runs, run, finish);
    builder_.SetInsertPoint(run);
    EmitSteps(running, started, last_, skew, /*steady=*/true);
    builder_.CreateBr(finish);
    builder_.SetInsertPoint(finish);
    EmitSteps(ending, first_ends, all, skew, /*steady=*/false);
    EndPass(latch, end);
  }

  // The builder is in the region's new latch.
  void EndPass(llvm::BasicBlock* old_latch, llvm::BasicBlock* end) {
    llvm::BasicBlock* latch = builder_.GetInsertBlock();
    llvm::Value* next_pass = nullptr;
    for (const auto& [phi, step] : counters_) {
      llvm::Value* next = Further(phi, step, builder_.getInt64(1), builder_);
      if (phi == pass_) next_pass = next;
      phi->setIncomingValueForBlock(old_latch, next);
    }
    for (llvm::PHINode* phi : kept_values_)
      phi->setIncomingValueForBlock(old_latch, llvm::PoisonValue::get(phi->getType()));
    for (llvm::PHINode& phi : header_->phis()) phi.replaceIncomingBlockWith(old_latch, latch);
    for (llvm::PHINode& phi : end->phis()) phi.replaceIncomingBlockWith(old_latch, latch);
    constexpr unsigned kCount = 3;  // the chunk function's argument
    builder_.CreateCondBr(builder_.CreateICmpEQ(next_pass, function_.getArg(kCount)), end, header_);
  }

  llvm::Function& function_;
  llvm::Loop& region_;
  llvm::Loop& inner_;
  llvm::ScalarEvolution& evolution_;
  llvm::BasicBlock *header_, *ahead_;
  llvm::IRBuilder<> builder_;
  std::vector<std::pair<llvm::PHINode*, int64_t>> counters_;  // of the region's header, with their steps
  std::vector<llvm::PHINode*> kept_values_;
  std::vector<llvm::PHINode*> reduced_;
  llvm::PHINode* pass_ = nullptr;
  llvm::Value* last_ = nullptr;  // iteration of the inner loop
  llvm::AllocaInst* iteration_ = nullptr;
  std::vector<llvm::AllocaInst*> kept_;  // values that blocks hand on
  std::map<int, std::vector<llvm::AllocaInst*>>
      handed_;  // by HandedNumber: what was written a step before, two steps, ...
};

}  // namespace

llvm::Loop* InnerLoopOf(llvm::Loop& region, llvm::ScalarEvolution& evolution) {
  if (region.getSubLoops().size() != 1) return nullptr;
  llvm::Loop& inner = *region.getSubLoops().front();
  if (!inner.isInnermost() || !inner.getLoopPreheader() || !inner.getLoopLatch()) return nullptr;
  if (!CountOfInner(inner, region, evolution)) return nullptr;
  llvm::DominatorTree dominators(*region.getHeader()->getParent());
  return dominators.dominates(inner.getHeader(), region.getLoopLatch()) ? &inner : nullptr;
}

const llvm::BasicBlock* EndOfIteration(const llvm::Loop& inner, const llvm::Loop& region) {
  return EndOfInner(inner, region)->from;
}

bool StaggerPasses(llvm::Function& function, Analyses& analyses, unsigned lanes, unsigned skew) {
  llvm::Loop* region = RegionLoopOf(function, analyses);
  if (!region || !HasOneEnd(*region, *region)) return false;
  const auto reduced =
      ReduceByPass(*region, analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function), lanes);
  if (!reduced) return false;
  UsePoisonOutside(*region);
  // The header is left with its variables.
  llvm::SplitBlock(region->getHeader(), region->getHeader()->getFirstNonPHIIt());
  region = RegionLoopOf(function, analyses);
  if (!region) return false;
  auto& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
  llvm::Loop* inner = InnerLoopOf(*region, evolution);
  if (!inner) return false;
  CarryLoads(*inner, evolution);
  const bool staggered = Stagger(function, *region, *inner, evolution).Run(lanes, skew, *reduced);
  // What is empty now goes, and what led there.
  RegionLoopOf(function, analyses);
  llvm::removeUnreachableBlocks(function);
  analyses.function.clear();
  return staggered;
}

}  // namespace tracelift::jit

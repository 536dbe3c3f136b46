#include "jit/emit/leading_part.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/Local.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <functional>
#include <optional>
#include <set>

#include "jit/artifact.h"
#include "jit/emit/jam_passes.h"
#include "jit/emit/panel_function.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/triangle_panels.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };
constexpr int64_t kPanel = 16;  // iterations of the lead, for all passes of a chunk

// From where the loop is still ahead in the same pass.
std::set<const llvm::BasicBlock*> BlocksAhead(const llvm::Loop& loop, const llvm::Loop& region) {
  std::set<const llvm::BasicBlock*> ahead{loop.getLoopPreheader()};
  std::vector<const llvm::BasicBlock*> work(ahead.begin(), ahead.end());
  while (!work.empty()) {
    const llvm::BasicBlock* block = work.back();
    work.pop_back();
    if (block == region.getHeader()) continue;
    for (const llvm::BasicBlock* before : llvm::predecessors(block)) {
      if (region.contains(before) && ahead.insert(before).second) work.push_back(before);
    }
  }
  return ahead;
}

// Null when it is none.
const llvm::SCEVAddRecExpr* CounterOf(llvm::PHINode& phi, const llvm::Loop& loop, llvm::ScalarEvolution& evolution) {
  const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(&phi));
  return recurrence && recurrence->getLoop() == &loop && recurrence->isAffine() ? recurrence : nullptr;
}

size_t CountersOf(llvm::Loop& loop, llvm::ScalarEvolution& evolution) {
  const auto is_counter = [&](llvm::PHINode& phi) { return CounterOf(phi, loop, evolution) != nullptr; };
  return static_cast<size_t>(llvm::count_if(loop.getHeader()->phis(), is_counter));
}

bool HasOnlyCounters(llvm::Loop& loop, llvm::ScalarEvolution& evolution) {
  return CountersOf(loop, evolution) == static_cast<size_t>(std::distance(loop.getHeader()->phis().begin(), loop.getHeader()->phis().end()));
}

// Variables of the region that are no counters matter to the rest of a pass only.
bool NeedsOnlyCounters(llvm::Loop& region, llvm::ScalarEvolution& evolution,
                       const std::function<bool(const llvm::BasicBlock*)>& is_in_lead) {
  return llvm::all_of(region.getHeader()->phis(), [&](llvm::PHINode& phi) {
    return CounterOf(phi, region, evolution) || llvm::none_of(phi.users(), [&](const llvm::User* user) {
      return is_in_lead(llvm::cast<llvm::Instruction>(user)->getParent());
    });
  });
}

// What the loop, and the ways to it that data decide, need of the blocks ahead.
std::set<const llvm::Instruction*> NeededAhead(const llvm::Loop& loop, const llvm::Loop& region,
                                               const std::set<const llvm::BasicBlock*>& ahead) {
  std::set<const llvm::Instruction*> needed;
  std::vector<const llvm::Instruction*> work;
  for (const llvm::BasicBlock* block : loop.blocks()) {
    for (const llvm::Instruction& instruction : *block) work.push_back(&instruction);
  }
  for (const llvm::BasicBlock* block : ahead) {
    const auto stays = [&](const llvm::BasicBlock* next) { return region.contains(next); };
    if (llvm::count_if(llvm::successors(block), stays) > 1) work.push_back(block->getTerminator());
  }
  while (!work.empty()) {
    const llvm::Instruction* instruction = work.back();
    work.pop_back();
    if (llvm::isa<llvm::PHINode>(instruction) && instruction->getParent() == region.getHeader()) continue;
    for (const llvm::Value* operand : instruction->operands()) {
      const auto* by = llvm::dyn_cast<llvm::Instruction>(operand);
      if (by && ahead.contains(by->getParent()) && needed.insert(by).second) work.push_back(by);
    }
  }
  return needed;
}

std::vector<uint8_t> PlacesOf(const std::vector<AccessBy>& accesses_by, const llvm::Loop& loop, const llvm::Loop& region,
                              const std::set<const llvm::BasicBlock*>& ahead, size_t accesses) {
  const std::set<const llvm::Instruction*> needed = NeededAhead(loop, region, ahead);
  std::vector<uint8_t> places(accesses);
  for (const AccessBy& by : accesses_by) {
    const llvm::BasicBlock* block = by.instruction->getParent();
    places[static_cast<size_t>(by.access)] |= loop.contains(block)    ? kWithinInner
                                              : ahead.contains(block) ? kAheadOfInner
                                                                      : kBehindInner;
    if (needed.contains(by.instruction)) places[static_cast<size_t>(by.access)] |= kNeededWithin;
  }
  return places;
}

// Where the chunk function counts its passes.
llvm::BranchInst* EndOfPasses(const llvm::Loop& region, const llvm::Function& function) {
  llvm::SmallVector<llvm::BasicBlock*, 4> exiting;
  region.getExitingBlocks(exiting);
  for (llvm::BasicBlock* from : exiting) {
    auto* branch = llvm::dyn_cast<llvm::BranchInst>(from->getTerminator());
    auto* compare = branch && branch->isConditional() ? llvm::dyn_cast<llvm::ICmpInst>(branch->getCondition()) : nullptr;
    if (compare && compare->isEquality() && compare->getOperand(1) == function.getArg(kCount)) return branch;
  }
  return nullptr;
}

// A copy of the chunk function whose passes end behind the lead's panel.
class LeadFunction {
 public:
  LeadFunction(llvm::Function& function, const LeadPlan& plan, Analyses& analyses)
      : panel_(function, {plan.header}, ".lead", analyses), analyses_(analyses) {}

  // False when it cannot be; there is no such function then.
  bool Make() {
    if (!EndBehindLoop()) {
      panel_.function().eraseFromParent();
      return false;
    }
    analyses_.function.clear();
    llvm::Loop& loop = *Loops().getLoopFor(panel_.headers()[0]);
    llvm::IRBuilder<> builder(&*panel_.function().getEntryBlock().getFirstInsertionPt());
    llvm::Value* from = panel_.From();
    llvm::Value* behind = builder.CreateBinaryIntrinsic(
        llvm::Intrinsic::smin, builder.CreateAdd(from, builder.getInt64(kPanel)), LoadLead(panel_.function(), builder));
    llvm::Value* count = builder.CreateSub(behind, from);
    StartAt(loop, from, Evolution());
    EndAfter(loop, count, builder);
    analyses_.function.clear();
    group_ = JamInPlace(panel_.function(), analyses_) ? kJammedPasses : 1;
    if (group_ == 1) return true;
    // Passes side by side are rows that lie apart: LLVM would gather what takes no longer to read one by one.
    for (const auto kind : {llvm::Attribute::NoImplicitFloat, llvm::Attribute::NoInline}) panel_.function().addFnAttr(kind);
    KeepLoopsWhole(panel_.function(), analyses_);
    return true;
  }

  static llvm::Value* LoadLead(llvm::Function& function, llvm::IRBuilder<>& builder) {
    llvm::Value* at = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), function.getArg(kFlags), offsetof(ChunkResult, lead));
    return builder.CreateAlignedLoad(builder.getInt64Ty(), at, llvm::Align(8), "lead");
  }

  llvm::Function& function() { return panel_.function(); }
  int group() const { return group_; }

 private:
  llvm::LoopInfo& Loops() { return analyses_.function.getResult<llvm::LoopAnalysis>(panel_.function()); }
  llvm::ScalarEvolution& Evolution() {
    return analyses_.function.getResult<llvm::ScalarEvolutionAnalysis>(panel_.function());
  }

  // Behind the loop, and wherever a pass goes past it, the next pass begins.
  bool EndBehindLoop() {
    llvm::Function& function = panel_.function();
    llvm::Loop* loop = Loops().getLoopFor(panel_.headers()[0]);
    if (!loop || loop->getHeader() != panel_.headers()[0]) return false;
    llvm::Loop* region = loop->getParentLoop();
    if (!region || region->getParentLoop() || !region->getLoopPreheader() || !region->getLoopLatch()) return false;
    llvm::BranchInst* end = EndOfPasses(*region, function);
    llvm::BasicBlock* ending = EndingBlockOf(*loop, *region);
    if (!end || !ending || !HasOnlyCounters(*loop, Evolution())) return false;
    const std::set<const llvm::BasicBlock*> ahead = BlocksAhead(*loop, *region);
    const auto is_in_lead = [&](const llvm::BasicBlock* block) { return loop->contains(block) || ahead.contains(block); };
    if (!NeedsOnlyCounters(*region, Evolution(), is_in_lead)) return false;

    llvm::BasicBlock *header = region->getHeader(), *latch = region->getLoopLatch(), *before = region->getLoopPreheader();
    llvm::BasicBlock* exit = end->getSuccessor(region->contains(end->getSuccessor(0)) ? 1 : 0);
    llvm::BasicBlock* next = next_ = llvm::BasicBlock::Create(function.getContext(), "lead.next", &function);
    llvm::IRBuilder<> builder(next);
    const llvm::Value* counted = llvm::cast<llvm::ICmpInst>(end->getCondition())->getOperand(0);
    llvm::Value* count = nullptr;
    llvm::SCEVExpander expander(Evolution(), function.getParent()->getDataLayout(), "lead");
    std::vector<std::pair<llvm::PHINode*, llvm::Value*>> values;
    for (llvm::PHINode& phi : header->phis()) {
      const llvm::SCEVAddRecExpr* recurrence = CounterOf(phi, *region, Evolution());
      if (!recurrence) {
        values.emplace_back(&phi, llvm::PoisonValue::get(phi.getType()));
        continue;
      }
      const llvm::SCEV* step = recurrence->getStepRecurrence(Evolution());
      llvm::Value* by = expander.expandCodeFor(step, step->getType(), before->getTerminator());
      builder.SetInsertPoint(next);
      llvm::Value* value = phi.getType()->isPointerTy() ? builder.CreateGEP(builder.getInt8Ty(), &phi, by) : builder.CreateAdd(&phi, by);
      if (phi.getIncomingValueForBlock(latch) == counted) count = value;
      values.emplace_back(&phi, value);
    }
    expander.clear();
    if (!count) {
      next->eraseFromParent();
      return false;
    }
    for (const auto& [phi, value] : values) phi->addIncoming(value, next);
    for (llvm::PHINode& phi : exit->phis()) phi.addIncoming(llvm::PoisonValue::get(phi.getType()), next);
    builder.SetInsertPoint(next);
    builder.CreateCondBr(builder.CreateICmpEQ(count, function.getArg(kCount)), exit, header);

    const auto redirect = [&](llvm::BasicBlock* block, unsigned i) {
      llvm::Instruction* branch = block->getTerminator();
      branch->getSuccessor(i)->removePredecessor(block, /*KeepOneInputPHIs=*/true);
      branch->setSuccessor(i, next);
    };
    const auto* branch = llvm::cast<llvm::BranchInst>(ending->getTerminator());
    redirect(ending, loop->contains(branch->getSuccessor(0)) ? 1 : 0);
    for (llvm::BasicBlock* block : region->blocks()) {
      if (!ahead.contains(block)) continue;
      for (unsigned i = 0; i < block->getTerminator()->getNumSuccessors(); ++i) {
        llvm::BasicBlock* to = block->getTerminator()->getSuccessor(i);
        if (region->contains(to) && !is_in_lead(to)) redirect(block, i);
      }
      // Who leaves the nest there finds out behind the lead; what is written there is written then.
      StayInside(*block, *region, next);
      for (llvm::Instruction& instruction : llvm::make_early_inc_range(*block)) {
        if (llvm::isa<llvm::StoreInst>(instruction)) instruction.eraseFromParent();
      }
    }
    llvm::removeUnreachableBlocks(function);
    return true;
  }

  // Behind so many whole iterations, and nowhere else.
  void EndAfter(llvm::Loop& loop, llvm::Value* count, llvm::IRBuilder<>& builder) {
    for (llvm::BasicBlock* block : loop.blocks()) {
      auto* branch = llvm::dyn_cast<llvm::BranchInst>(block->getTerminator());
      if (!branch || block == loop.getLoopLatch()) continue;
      for (unsigned i = 0; i < branch->getNumSuccessors(); ++i) {
        if (branch->getSuccessor(i) != next_) continue;
        llvm::IRBuilder<>(branch).CreateBr(branch->getSuccessor(1 - i));
        branch->eraseFromParent();
        break;
      }
    }
    CountUpTo(loop, count, next_, builder);
  }

  static void StayInside(llvm::BasicBlock& block, const llvm::Loop& region, const llvm::BasicBlock* next) {
    auto* branch = llvm::dyn_cast<llvm::BranchInst>(block.getTerminator());
    if (!branch || !branch->isConditional()) return;
    for (const unsigned i : {0u, 1u}) {
      llvm::BasicBlock *leaves = branch->getSuccessor(i), *stays = branch->getSuccessor(1 - i);
      if (leaves == next || region.contains(leaves) || !(stays == next || region.contains(stays))) continue;
      leaves->removePredecessor(&block, /*KeepOneInputPHIs=*/true);
      llvm::IRBuilder<>(branch).CreateBr(stays);
      branch->eraseFromParent();
      return;
    }
  }

  PanelFunction panel_;
  Analyses& analyses_;
  llvm::BasicBlock* next_ = nullptr;  // where a pass ends
  int group_ = 1;
};

// Passes that are not the lead's start their loop behind it.
void StartBehindLead(llvm::Function& function, const LeadPlan& plan, Analyses& analyses) {
  analyses.function.clear();
  llvm::Loop& loop = *analyses.function.getResult<llvm::LoopAnalysis>(function).getLoopFor(plan.header);
  llvm::IRBuilder<> builder(&*function.getEntryBlock().getFirstInsertionPt());
  auto& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
  StartAt(loop, LeadFunction::LoadLead(function, builder), evolution);
  analyses.function.clear();
}

struct LeadCode {
  llvm::Function *lead, *rest, *length;
};

// Every pass must have more iterations than its lead: the first one does, and later ones have more.
void DispatchLead(llvm::Function& function, const LeadCode& code) {
  function.deleteBody();
  function.setLinkage(llvm::GlobalValue::ExternalLinkage);
  llvm::LLVMContext& context = function.getContext();
  const auto block = [&](const char* name) { return llvm::BasicBlock::Create(context, name, &function); };
  llvm::BasicBlock *entry = block("entry"), *check = block("check"), *unlike = block("unlike"), *split = block("split"),
                   *panels = block("panels"), *rest = block("rest"), *end = block("end");
  llvm::IRBuilder<> builder(entry);
  llvm::Value *in = function.getArg(kIn), *out = function.getArg(kOut), *first = function.getArg(kFirst),
              *count = function.getArg(kCount), *result = function.getArg(kFlags);
  llvm::Value* no_state = llvm::ConstantPointerNull::get(builder.getPtrTy());
  llvm::Value* lead = LeadFunction::LoadLead(function, builder);
  llvm::Value* zero = builder.getInt64(0);
  builder.CreateCondBr(builder.CreateICmpEQ(lead, zero), rest, check);

  builder.SetInsertPoint(check);
  llvm::Value* length = builder.CreateCall(code.length, {in, no_state, first, count, result});
  builder.CreateCondBr(builder.CreateICmpSGT(length, lead), split, unlike);
  builder.SetInsertPoint(unlike);
  llvm::Value* flags = builder.CreateLoad(builder.getInt32Ty(), result);
  builder.CreateStore(builder.CreateOr(flags, builder.getInt32(kFlagUnlike)), result);
  builder.CreateBr(end);

  builder.SetInsertPoint(split);
  llvm::Value* at = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), result, offsetof(ChunkResult, leads));
  llvm::Value* leads = builder.CreateAlignedLoad(builder.getInt32Ty(), at, llvm::Align(4), "leads");
  builder.CreateCondBr(builder.CreateICmpNE(leads, builder.getInt32(0)), panels, rest);

  builder.SetInsertPoint(panels);
  llvm::PHINode* from = builder.CreatePHI(builder.getInt64Ty(), 2);
  from->addIncoming(zero, split);
  builder.CreateCall(code.lead, {in, no_state, first, count, result, from});
  llvm::Value* next = builder.CreateAdd(from, builder.getInt64(kPanel), "", /*HasNUW=*/true, /*HasNSW=*/true);
  from->addIncoming(next, panels);
  builder.CreateCondBr(builder.CreateICmpSLT(next, lead), panels, end);

  builder.SetInsertPoint(rest);
  builder.CreateCall(code.rest, {in, out, first, count, result});
  builder.CreateBr(end);
  builder.SetInsertPoint(end);
  builder.CreateRet(llvm::Constant::getNullValue(function.getReturnType()));
}

}  // namespace

LeadPlan PlanLead(llvm::Loop& region, llvm::ScalarEvolution& evolution, const SeenFootprint& seen,
                  const std::vector<AccessBy>& accesses_by) {
  if (!seen.PassesMeet()) return {};
  // What is kept from pass to pass, and on its way through the loop, matters to the state at the end only.
  std::set<const llvm::Instruction*> kept;
  for (llvm::PHINode& phi : region.getHeader()->phis()) {
    if (CounterOf(phi, region, evolution)) continue;
    const std::optional<KeptValue> value = KeptValueOf(&phi, &region);
    if (!value) return {};
    kept.insert(value->copies.begin(), value->copies.end());
  }
  for (llvm::Loop* loop : region.getSubLoops()) {
    if (loop->isInnermost() || !loop->getLoopLatch() || !Grows(*loop, region, evolution, Growth::kByOneAtMost)) continue;
    const int number = seen.LoopOf(loop->getHeader());
    const bool counts = llvm::all_of(loop->getHeader()->phis(), [&](llvm::PHINode& phi) {
      return CounterOf(phi, *loop, evolution) || kept.contains(&phi);
    });
    if (number < 1 || !counts) continue;
    const std::set<const llvm::BasicBlock*> ahead = BlocksAhead(*loop, region);
    const bool writes_oddly = llvm::any_of(ahead, [](const llvm::BasicBlock* block) {
      return llvm::any_of(*block, [](const llvm::Instruction& instruction) {
        return instruction.mayWriteToMemory() && !llvm::isa<llvm::StoreInst>(instruction);
      });
    });
    if (writes_oddly) continue;
    LeadPlan plan{loop, loop->getHeader(), CountersOf(*loop, evolution), {number, PlacesOf(accesses_by, *loop, region, ahead, seen.accesses())}};
    if (seen.MostIsLead(plan.lead)) return plan;
  }
  return {};
}

int RunLeadFirst(llvm::Function& function, Analyses& analyses, const LeadPlan& plan) {
  if (!RegionLoopOf(function, analyses)) return 0;
  auto& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  auto& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
  llvm::Loop* loop = loops.getLoopFor(plan.header);
  if (!loop || loop->getHeader() != plan.header || !loop->getParentLoop() || CountersOf(*loop, evolution) != plan.counters ||
      !Grows(*loop, *loop->getParentLoop(), evolution, Growth::kByOneAtMost))
    return 0;
  LeadFunction lead(function, plan, analyses);
  if (!lead.Make()) return 0;
  llvm::Function* length = MakeLengthFunction(function, plan.header, analyses, Growth::kByOneAtMost);
  StartBehindLead(function, plan, analyses);
  llvm::Function* rest = CloneAs(function, ".rest");
  for (const auto kind : {llvm::Attribute::OptimizeForSize, llvm::Attribute::NoInline}) rest->addFnAttr(kind);
  DispatchLead(function, {&lead.function(), rest, length});
  analyses.function.clear();
  return lead.group();
}

}  // namespace tracelift::jit

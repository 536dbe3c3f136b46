#include "jit/emit/jam_passes.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <array>
#include <map>
#include <set>
#include <vector>

#include "jit/emit/lane_code.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/seen_footprint.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };
constexpr size_t kMostInstructions = 160;

using Copies = std::array<llvm::Value*, kJammedPasses>;

class Jammer {
 public:
  Jammer(llvm::Function& function, llvm::Loop* loop, llvm::ScalarEvolution& evolution)
      : function_(function), loop_(loop), evolution_(evolution) {}

  bool CanJam() {
    if (loop_->isInnermost() || !loop_->getLoopPreheader() || !loop_->getLoopLatch()) return false;
    exiting_ = loop_->getExitingBlock();  // one exit: no detours
    if (!exiting_ || !FindHeaderPhis()) return false;
    FindVarying();
    return BodyAllows();
  }

  void Jam() {
    llvm::BasicBlock* preheader = loop_->getLoopPreheader();
    llvm::BasicBlock* latch = loop_->getLoopLatch();
    llvm::SCEVExpander expander(evolution_, function_.getParent()->getDataLayout(), "jam");
    std::vector<llvm::Value*> steps;
    for (llvm::PHINode* phi : phis_) {
      const auto* recurrence = llvm::cast<llvm::SCEVAddRecExpr>(evolution_.getSCEV(phi));
      steps.push_back(expander.expandCodeFor(recurrence->getStepRecurrence(evolution_), phi->getType(),
                                             preheader->getTerminator()));
    }
    expander.clear();

    // Pass u of a group sees each recurrence u steps further on; the next group starts all of them later.
    llvm::IRBuilder<> builder(loop_->getHeader(), loop_->getHeader()->getFirstInsertionPt());
    for (size_t i = 0; i < phis_.size(); ++i) {
      llvm::PHINode* phi = phis_[i];
      Copies& copies = copies_[phi];
      copies[0] = phi;
      for (int u = 1; u < kJammedPasses; ++u) {
        copies[static_cast<size_t>(u)] =
            builder.CreateAdd(phi, builder.CreateMul(steps[i], llvm::ConstantInt::get(phi->getType(), static_cast<uint64_t>(u))));
      }
    }
    CloneVarying();
    SeparatePasses();
    UseLastPassOutside();

    builder.SetInsertPoint(latch->getTerminator());
    for (size_t i = 0; i < phis_.size(); ++i) {
      llvm::Type* type = phis_[i]->getType();
      llvm::Value* by = builder.CreateMul(steps[i], llvm::ConstantInt::get(type, kJammedPasses));
      phis_[i]->setIncomingValueForBlock(latch, builder.CreateAdd(phis_[i], by));
    }
    CountGroups();
  }

 private:
  // All recurrences of the loop must be affine; the pass counter is told apart by its use in the exit.
  bool FindHeaderPhis() {
    auto* exit = llvm::dyn_cast<llvm::BranchInst>(exiting_->getTerminator());
    compare_ = exit && exit->isConditional() ? llvm::dyn_cast<llvm::ICmpInst>(exit->getCondition()) : nullptr;
    if (!compare_ || compare_->getOperand(1) != function_.getArg(kCount) || !compare_->hasOneUse()) return false;
    for (llvm::PHINode& phi : loop_->getHeader()->phis()) {
      if (!phi.getType()->isIntegerTy()) return false;
      const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution_.getSCEV(&phi));
      if (!recurrence || recurrence->getLoop() != loop_ || !recurrence->isAffine()) return false;
      if (phi.getIncomingValueForBlock(loop_->getLoopLatch()) == compare_->getOperand(0)) {
        counter_ = &phi;
      } else {
        phis_.push_back(&phi);
      }
    }
    return counter_ != nullptr;
  }

  // What differs from pass to pass: all that is computed from the recurrences, what is loaded from there, and what
  // touches the chunk's own variables (allocas), which each pass gets for itself.
  void FindVarying() {
    std::vector<llvm::Value*> work(phis_.begin(), phis_.end());
    for (llvm::Instruction& instruction : function_.getEntryBlock()) {
      const bool used_inside = llvm::any_of(instruction.users(), [&](const llvm::User* user) {
        return loop_->contains(llvm::cast<llvm::Instruction>(user));
      });
      if (llvm::isa<llvm::AllocaInst>(instruction) && used_inside) {
        allocas_.push_back(llvm::cast<llvm::AllocaInst>(&instruction));
        work.push_back(&instruction);
      }
    }
    while (!work.empty()) {
      llvm::Value* value = work.back();
      work.pop_back();
      for (llvm::User* user : value->users()) {
        auto* instruction = llvm::cast<llvm::Instruction>(user);
        if (!loop_->contains(instruction) || instruction->isTerminator() || !varying_.insert(instruction).second) continue;
        work.push_back(instruction);
      }
    }
    for (llvm::PHINode* phi : phis_) varying_.erase(phi);
  }

  // The same way for all passes: the branch's operands do not differ by recurrences of the loop.
  bool IsUniform(const llvm::Value* condition) const {
    const auto* instruction = llvm::dyn_cast<llvm::Instruction>(condition);
    if (!instruction || !varying_.contains(instruction)) return true;
    const auto* compare = llvm::dyn_cast<llvm::ICmpInst>(instruction);
    if (!compare || !compare->getOperand(0)->getType()->isIntegerTy()) return false;
    const auto depends = [&](const llvm::SCEV* scev) {
      return llvm::SCEVExprContains(scev, [&](const llvm::SCEV* part) {
        if (const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(part)) return recurrence->getLoop() == loop_;
        if (const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(part)) {
          const auto* value = llvm::dyn_cast<llvm::Instruction>(unknown->getValue());
          return value && loop_->contains(value);
        }
        return false;
      });
    };
    const llvm::SCEV* left = evolution_.getSCEV(compare->getOperand(0));
    const llvm::SCEV* right = evolution_.getSCEV(compare->getOperand(1));
    if (!depends(left) && !depends(right)) return true;
    return compare->isEquality() && !depends(evolution_.getMinusSCEV(left, right));
  }

  bool BodyAllows() const {
    size_t instructions = 0;
    bool shares_a_read = false;
    for (llvm::BasicBlock* block : loop_->blocks()) {
      auto* branch = llvm::dyn_cast<llvm::BranchInst>(block->getTerminator());
      if (!branch) return false;
      if (block != exiting_ && branch->isConditional() && !IsUniform(branch->getCondition())) return false;
      for (llvm::Instruction& instruction : *block) {
        ++instructions;
        for (const llvm::Value* operand : instruction.operands()) {
          if (operand == function_.getArg(kFlags) || operand == function_.getArg(kCount)) {
            if (&instruction != compare_) return false;
          }
        }
        const bool varies = varying_.contains(&instruction);
        if (!varies && instruction.mayWriteToMemory()) return false;
        if (!varies && IsRead(instruction) && EvolvesInside(instruction)) shares_a_read = true;
        const auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction);
        if (call && !llvm::isa<llvm::IntrinsicInst>(call) && !call->doesNotAccessMemory()) return false;
      }
    }
    return shares_a_read && instructions <= kMostInstructions;
  }

  static bool IsRead(const llvm::Instruction& instruction) {
    return llvm::isa<llvm::LoadInst>(instruction) || LanesOfGather(instruction);
  }

  // A read in an inner loop, of an address that moves there: the first operand of loads and gathers.
  bool EvolvesInside(llvm::Instruction& read) const {
    const llvm::Value* pointer = read.getOperand(0);
    const auto* address = llvm::dyn_cast<llvm::Instruction>(pointer);
    return address && loop_->contains(address);
  }

  llvm::Value* CopyOf(llvm::Value* value, int u) const {
    const auto found = copies_.find(value);
    return found == copies_.end() ? value : found->second[static_cast<size_t>(u)];
  }

  void CloneVarying() {
    llvm::IRBuilder<> entry(&function_.getEntryBlock(), function_.getEntryBlock().begin());
    for (llvm::AllocaInst* alloca : allocas_) {
      Copies& copies = copies_[alloca];
      copies[0] = alloca;
      for (int u = 1; u < kJammedPasses; ++u) {
        copies[static_cast<size_t>(u)] = entry.CreateAlloca(alloca->getAllocatedType());
        own_allocas_.emplace_back(alloca, copies[static_cast<size_t>(u)]);
      }
    }
    std::vector<llvm::Instruction*> originals;
    for (llvm::BasicBlock* block : loop_->blocks()) {
      for (llvm::Instruction& instruction : *block) {
        if (varying_.contains(&instruction)) originals.push_back(&instruction);
      }
    }
    for (llvm::Instruction* original : originals) {
      Copies& copies = copies_[original];
      copies[0] = original;
      llvm::Instruction* after = original;
      for (int u = 1; u < kJammedPasses; ++u) {
        llvm::Instruction* copy = original->clone();
        copy->insertAfter(after);
        copies[static_cast<size_t>(u)] = after = copy;
      }
    }
    for (llvm::Instruction* original : originals) {
      for (int u = 1; u < kJammedPasses; ++u) {
        auto* copy = llvm::cast<llvm::Instruction>(copies_.at(original)[static_cast<size_t>(u)]);
        for (llvm::Use& use : copy->operands()) use.set(CopyOf(use.get(), u));
      }
    }
    // Each pass's variables start as the first one's, and are gathered into it at the end: all are flags that are
    // only ever set.
    llvm::IRBuilder<> start(loop_->getLoopPreheader()->getTerminator());
    llvm::BasicBlock* end = nullptr;
    for (llvm::BasicBlock* next : llvm::successors(exiting_)) {
      if (!loop_->contains(next)) end = next;
    }
    llvm::IRBuilder<> gather(end, end->getFirstInsertionPt());
    for (const auto& [first, own] : own_allocas_) {
      llvm::Type* type = first->getAllocatedType();
      start.CreateStore(start.CreateLoad(type, first), own);
      gather.CreateStore(gather.CreateOr(gather.CreateLoad(type, first), gather.CreateLoad(type, own)), first);
    }
  }

  // What one pass writes no other touches: that is checked before a chunk runs, but LLVM cannot see it. So each copy's
  // accesses are a scope of their own, and none aliases another's. What all passes read alike is written by none.
  void SeparatePasses() {
    llvm::LLVMContext& context = function_.getContext();
    llvm::MDBuilder metadata(context);
    llvm::MDNode* domain = metadata.createAnonymousAliasScopeDomain("passes");
    std::array<llvm::Metadata*, kJammedPasses + 1> scopes{};  // the last: what all read
    for (llvm::Metadata*& scope : scopes) scope = metadata.createAnonymousAliasScope(domain);
    const auto separate = [&](llvm::Instruction& instruction, size_t own) {
      llvm::SmallVector<llvm::Metadata*, kJammedPasses + 1> others(scopes.begin(), scopes.end());
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(own));
      AddScopes(instruction, llvm::MDNode::get(context, scopes[own]), llvm::MDNode::get(context, others));
    };
    std::set<const llvm::Value*> copied;
    for (const auto& [original, copies] : copies_) {
      for (size_t u = 0; u < copies.size(); ++u) {
        auto* copy = llvm::dyn_cast<llvm::Instruction>(copies[u]);
        if (!copy || !loop_->contains(copy) || !copy->mayReadOrWriteMemory()) continue;
        copied.insert(copy);
        separate(*copy, u);
      }
    }
    for (llvm::BasicBlock* block : loop_->blocks()) {
      for (llvm::Instruction& instruction : *block) {
        if (IsRead(instruction) && !copied.contains(&instruction)) separate(instruction, kJammedPasses);
      }
    }
  }

  // After the loop, the state is that of the last pass of the last group.
  void UseLastPassOutside() {
    for (const auto& [original, copies] : copies_) {
      if (llvm::isa<llvm::AllocaInst>(original)) continue;
      original->replaceUsesWithIf(copies[kJammedPasses - 1], [&](llvm::Use& use) {
        const auto* user = llvm::cast<llvm::Instruction>(use.getUser());
        return !loop_->contains(user);
      });
    }
  }

  void CountGroups() {
    llvm::IRBuilder<> builder(compare_);
    llvm::Value* next = builder.CreateAdd(counter_, llvm::ConstantInt::get(counter_->getType(), kJammedPasses), "group.next",
                                          /*HasNUW=*/true, /*HasNSW=*/true);
    compare_->setOperand(0, next);
    counter_->setIncomingValueForBlock(loop_->getLoopLatch(), next);
  }

  llvm::Function& function_;
  llvm::Loop* loop_;
  llvm::ScalarEvolution& evolution_;
  llvm::BasicBlock* exiting_ = nullptr;
  llvm::ICmpInst* compare_ = nullptr;
  llvm::PHINode* counter_ = nullptr;
  std::vector<llvm::PHINode*> phis_;
  std::vector<llvm::AllocaInst*> allocas_;
  std::vector<std::pair<llvm::AllocaInst*, llvm::Value*>> own_allocas_;
  std::set<const llvm::Instruction*> varying_;
  std::map<llvm::Value*, Copies> copies_;
};

// The region's loop, when its passes can be jammed.
std::optional<Jammer> JammerOf(llvm::Function& function, Analyses& analyses) {
  llvm::Loop* region = RegionLoopOf(function, analyses);
  if (!region) return std::nullopt;
  Jammer jammer(function, region, analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function));
  return jammer.CanJam() ? std::optional(std::move(jammer)) : std::nullopt;
}

}  // namespace

bool JamInPlace(llvm::Function& function, Analyses& analyses) {
  std::optional<Jammer> jammer = JammerOf(function, analyses);
  if (!jammer) return false;
  jammer->Jam();
  analyses.function.clear();
  return true;
}

bool JamPasses(llvm::Function& function, Analyses& analyses) {
  std::optional<Jammer> jammer = JammerOf(function, analyses);
  if (!jammer) return false;
  llvm::Function* single = CloneAs(function, ".single");
  jammer->Jam();
  llvm::Function* jammed = CloneAs(function, ".jammed");
  DispatchGroups(function, *jammed, *single, kJammedPasses, GroupState::kLeft);
  analyses.function.clear();
  return true;
}

}  // namespace tracelift::jit

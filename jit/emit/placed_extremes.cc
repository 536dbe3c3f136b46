#include "jit/emit/placed_extremes.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "jit/emit/entry_facts.h"

namespace tracelift::jit {
namespace {

constexpr unsigned kPlaceBits = 32;

// A variable of the loop, seen backwards from what the next pass gets: phis that choose among its values, and one
// select that sets it.
struct Variable {
  llvm::PHINode* phi = nullptr;
  std::vector<llvm::PHINode*> phis;  // `phi` among them
  llvm::SelectInst* setter = nullptr;
  llvm::Value* set_to = nullptr;

  llvm::Value* before() const {
    return set_to == setter->getTrueValue() ? setter->getFalseValue() : setter->getTrueValue();
  }
  bool Has(const llvm::Value* value) const { return value == setter || llvm::is_contained(phis, value); }
};

// With its setter keeping the value before in operand `keeps` (1 or 2).
std::optional<Variable> VariableOf(llvm::PHINode* phi, const llvm::Loop& loop, unsigned keeps) {
  Variable variable{phi, {phi}, nullptr, nullptr};
  std::vector<llvm::Value*> work{phi->getIncomingValueForBlock(loop.getLoopLatch())};
  while (!work.empty()) {
    llvm::Value* value = work.back();
    work.pop_back();
    if (variable.Has(value)) continue;
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (!instruction || !loop.contains(instruction)) return std::nullopt;
    if (auto* merged = llvm::dyn_cast<llvm::PHINode>(instruction)) {
      if (merged->getParent() == loop.getHeader()) return std::nullopt;
      variable.phis.push_back(merged);
      work.insert(work.end(), merged->op_begin(), merged->op_end());
      continue;
    }
    auto* select = llvm::dyn_cast<llvm::SelectInst>(instruction);
    if (!select || variable.setter) return std::nullopt;
    variable.setter = select;
    variable.set_to = select->getOperand(3 - keeps);
    work.push_back(select->getOperand(keeps));
  }
  if (!variable.setter || variable.Has(variable.set_to)) return std::nullopt;
  return variable;
}

std::optional<Variable> VariableOf(llvm::PHINode* phi, const llvm::Loop& loop) {
  auto variable = VariableOf(phi, loop, 2);
  return variable ? std::move(variable) : VariableOf(phi, loop, 1);
}

// `if (c) { a = x; b = y; }` as selects, where that is all.
bool MakeSelects(llvm::Loop& loop) {
  const auto only_computes = [](const llvm::BasicBlock* block) {
    constexpr size_t kShort = 8;
    return block->size() <= kShort && llvm::all_of(*block, [](const llvm::Instruction& instruction) {
             return instruction.isTerminator() ||
                    (!instruction.mayReadOrWriteMemory() && llvm::isSafeToSpeculativelyExecute(&instruction));
           });
  };
  bool changed = false;
  for (llvm::BasicBlock* block : loop.blocks()) {
    auto* branch = llvm::dyn_cast<llvm::BranchInst>(block->getTerminator());
    if (!branch || !branch->isConditional() || branch->getSuccessor(0) == branch->getSuccessor(1)) continue;
    for (const unsigned way : {0u, 1u}) {
      llvm::BasicBlock *aside = branch->getSuccessor(way), *join = branch->getSuccessor(1 - way);
      if (aside == join || aside->getSinglePredecessor() != block || aside->getSingleSuccessor() != join) continue;
      if (!loop.contains(aside) || join == loop.getHeader() || !only_computes(aside)) continue;
      if (llvm::isa<llvm::PHINode>(aside->front())) continue;
      llvm::Value* condition = branch->getCondition();
      while (!aside->front().isTerminator()) aside->front().moveBefore(branch);
      for (llvm::PHINode& phi : join->phis()) {
        llvm::Value* if_aside = phi.getIncomingValueForBlock(aside);
        llvm::Value* if_not = phi.getIncomingValueForBlock(block);
        if (if_aside == if_not) continue;
        auto* select = llvm::SelectInst::Create(condition, way == 0 ? if_aside : if_not, way == 0 ? if_not : if_aside,
                                                phi.getName() + ".set", branch->getIterator());
        select->setDebugLoc(branch->getDebugLoc());
        for (llvm::BasicBlock* from : {aside, block}) phi.setIncomingValueForBlock(from, select);
      }
      // Both ways are the same now; the control flow stays, for those who look at it.
      changed = true;
      break;
    }
  }
  return changed;
}

class PlacedExtreme {
 public:
  PlacedExtreme(const LoopShape& shape, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution)
      : shape_(shape),
        region_(*shape.loop),
        loops_(loops),
        evolution_(evolution),
        ahead_(region_.getLoopPreheader()->getTerminator()),
        expander_(evolution, ahead_->getModule()->getDataLayout(), "place"),
        builder_(ahead_->getContext()) {}

  // The variables that one condition sets; the one that is compared is the key.
  bool Rewrite(std::vector<Variable> variables) {
    if (!FindKey(variables) || !FindLoops() || !LooksAtNothingElse() || !FindPlaces() || !CountPasses()) return false;
    Pack();
    for (const Variable& variable : variables_) ReplaceOutside(variable);
    Remove();
    evolution_.forgetTopmostLoop(&region_);
    return true;
  }

 private:
  struct Affine {  // start + by_pass * pass + by_iteration * iteration, extended to the variable's width
    llvm::Value* start = nullptr;
    llvm::Value *by_pass = nullptr, *by_iteration = nullptr;  // null: none
    unsigned cast = 0;                                        // an opcode; 0: it is as wide
  };

  static llvm::Value* WithoutExtension(llvm::Value* value) {
    auto* cast = llvm::dyn_cast<llvm::CastInst>(value);
    return cast && llvm::isa<llvm::ZExtInst, llvm::SExtInst>(cast) ? cast->getOperand(0) : value;
  }

  bool FindKey(const std::vector<Variable>& variables) {
    variables_ = variables;
    auto* compare = llvm::dyn_cast<llvm::ICmpInst>(variables.front().setter->getCondition());
    if (!compare || !compare->isRelational()) return false;
    compare_ = compare;
    for (const unsigned side : {0u, 1u}) {
      llvm::Value *best = compare->getOperand(side), *value = compare->getOperand(1 - side);
      if (auto* low = llvm::dyn_cast<llvm::TruncInst>(best)) best = low->getOperand(0);
      for (size_t i = 0; i < variables.size(); ++i) {
        const Variable& variable = variables[i];
        llvm::Value* set_to = variable.set_to;
        const bool same = set_to == value || WithoutExtension(set_to) == value;
        if (!variable.Has(best) || best == variable.setter || !same || !value->getType()->isIntegerTy()) continue;
        if (value->getType()->getIntegerBitWidth() > 32) continue;
        // Set when `value predicate best`.
        auto predicate = side == 1 ? compare->getPredicate() : compare->getSwappedPredicate();
        if (variable.set_to == variable.setter->getFalseValue())
          predicate = llvm::CmpInst::getInversePredicate(predicate);
        key_ = i;
        value_ = value;
        is_signed_ = llvm::CmpInst::isSigned(predicate);
        greatest_ = llvm::ICmpInst::isGT(predicate) || llvm::ICmpInst::isGE(predicate);
        first_ = llvm::ICmpInst::isStrictPredicate(predicate);
        return true;
      }
    }
    return false;
  }

  // The setters are in the region's loop or in one inside it, all at one place.
  bool FindLoops() {
    llvm::BasicBlock* block = variables_.front().setter->getParent();
    llvm::Loop* in = loops_.getLoopFor(block);
    inner_ = in == &region_ ? nullptr : in;
    if (inner_ && (inner_->getParentLoop() != &region_ || !inner_->getLoopPreheader() || !inner_->getLoopLatch()))
      return false;
    return llvm::all_of(variables_, [&](const Variable& variable) { return variable.setter->getParent() == block; });
  }

  // Within the loop.
  bool LooksAtNothingElse() const {
    const auto is_ours = [&](const Variable& variable, const llvm::User* user) {
      const auto* instruction = llvm::cast<llvm::Instruction>(user);
      return !region_.contains(instruction) || variable.Has(instruction);
    };
    for (const Variable& variable : variables_) {
      const bool is_key = &variable == &variables_[key_];
      std::vector<llvm::Instruction*> values(variable.phis.begin(), variable.phis.end());
      values.push_back(variable.setter);
      for (const llvm::Instruction* value : values) {
        for (const llvm::User* user : value->users()) {
          if (is_ours(variable, user)) continue;
          const bool low = llvm::isa<llvm::TruncInst>(user) &&
                           llvm::all_of(user->users(), [&](const llvm::User* next) { return next == compare_; });
          if (!is_key || (user != compare_ && !low)) return false;
        }
      }
    }
    return llvm::all_of(compare_->users(), [&](const llvm::User* user) {
      return llvm::isa<llvm::BranchInst>(user)
                 ? SameBothWays(llvm::cast<llvm::BranchInst>(user))
                 : llvm::any_of(variables_, [&](const Variable& variable) { return variable.setter == user; });
    });
  }

  // A branch of which MakeSelects has left nothing.
  bool SameBothWays(const llvm::BranchInst* branch) const {
    for (const unsigned way : {0u, 1u}) {
      const llvm::BasicBlock *aside = branch->getSuccessor(way), *join = branch->getSuccessor(1 - way);
      if (aside->size() != 1 || aside->getSingleSuccessor() != join) continue;
      return llvm::all_of(join->phis(), [&](const llvm::PHINode& phi) {
        return phi.getIncomingValueForBlock(aside) == phi.getIncomingValueForBlock(branch->getParent());
      });
    }
    return false;
  }

  // Not a place: the key, or a copy of it in another width.
  bool IsValue(size_t variable) const {
    return variable == key_ || WithoutExtension(variables_[variable].set_to) == value_;
  }

  bool FindPlaces() {
    for (size_t i = 0; i < variables_.size(); ++i) {
      Affine place;
      if (!IsValue(i) && !FindPlace(variables_[i], &place)) return false;
      places_.push_back(place);
    }
    return true;
  }

  bool FindPlace(const Variable& variable, Affine* place) {
    if (!variable.phi->getType()->isIntegerTy()) return false;
    const llvm::SCEV* scev = evolution_.getSCEV(variable.set_to);
    if (const auto* cast = llvm::dyn_cast<llvm::SCEVCastExpr>(scev)) {
      place->cast = llvm::isa<llvm::SCEVZeroExtendExpr>(scev)   ? llvm::Instruction::ZExt
                    : llvm::isa<llvm::SCEVSignExtendExpr>(scev) ? llvm::Instruction::SExt
                                                                : llvm::Instruction::Trunc;
      if (llvm::isa<llvm::SCEVPtrToIntExpr>(scev)) return false;
      scev = cast->getOperand();
    }
    const auto step_of = [&](const llvm::Loop* loop, llvm::Value** step) {
      const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(scev);
      if (!recurrence || recurrence->getLoop() != loop) return true;
      const auto* by = llvm::dyn_cast<llvm::SCEVConstant>(recurrence->getStepRecurrence(evolution_));
      if (!recurrence->isAffine() || !by) return false;
      *step = by->getValue();
      scev = recurrence->getStart();
      return true;
    };
    if (inner_ && !step_of(inner_, &place->by_iteration)) return false;
    if (!step_of(&region_, &place->by_pass)) return false;
    if (!scev->getType()->isIntegerTy() || !evolution_.isLoopInvariant(scev, &region_)) return false;
    if (!expander_.isSafeToExpandAt(scev, ahead_)) return false;
    place->start = expander_.expandCodeFor(scev, scev->getType(), ahead_);
    return true;
  }

  // So few that passes and iterations fit into the place's bits.
  bool CountPasses() {
    std::vector<const llvm::SCEV*> facts;
    std::vector<uint64_t> limits;
    if (inner_) {
      const llvm::SCEV* again = evolution_.getBackedgeTakenCount(inner_);
      if (llvm::isa<llvm::SCEVCouldNotCompute>(again) || !evolution_.isLoopInvariant(again, &region_)) return false;
      if (const auto* constant = llvm::dyn_cast<llvm::SCEVConstant>(again)) {
        const uint64_t most = constant->getAPInt().getLimitedValue();
        while (iteration_bits_ < 28 && most >> iteration_bits_ != 0) ++iteration_bits_;
        if (most >> iteration_bits_ != 0) return false;
      } else {
        iteration_bits_ = 16;
        facts.push_back(again);
        limits.push_back(uint64_t{1} << iteration_bits_);
      }
    }
    const uint64_t most_passes = (uint64_t{1} << (kPlaceBits - iteration_bits_)) - 2;
    for (const ExitCount& count : shape_.counts) {
      facts.push_back(count.dividend);
      limits.push_back(most_passes);
    }
    const auto can = [&](const llvm::SCEV* fact) { return expander_.isSafeToExpandAt(fact, ahead_); };
    if (!llvm::all_of(facts, can)) return false;
    for (size_t i = 0; i < facts.size(); ++i) {
      llvm::Value* value = expander_.expandCodeFor(facts[i], facts[i]->getType(), ahead_);
      builder_.SetInsertPoint(ahead_);
      llvm::Value* wide = builder_.CreateZExt(value, builder_.getInt64Ty());
      RelyOn(builder_.CreateICmpULT(wide, builder_.getInt64(limits[i])), ahead_);
    }
    return true;
  }

  llvm::PHINode* Counter(llvm::Loop& loop, const char* name) {
    builder_.SetInsertPoint(loop.getHeader(), loop.getHeader()->begin());
    llvm::PHINode* counter = builder_.CreatePHI(builder_.getInt64Ty(), 2, name);
    counter->addIncoming(builder_.getInt64(0), loop.getLoopPreheader());
    builder_.SetInsertPoint(loop.getLoopLatch()->getTerminator());
    counter->addIncoming(builder_.CreateAdd(counter, builder_.getInt64(1), "", true, true), loop.getLoopLatch());
    return counter;
  }

  uint64_t Unset() const { return first_ ? 0xffffffff : 0; }

  // There and back.
  llvm::Value* Mapped(llvm::Value* value) {
    llvm::Value* mapped = value;
    if (!greatest_) mapped = builder_.CreateNot(mapped);
    if (!is_signed_)
      mapped = builder_.CreateXor(
          mapped,
          llvm::ConstantInt::get(mapped->getType(), llvm::APInt::getSignMask(mapped->getType()->getIntegerBitWidth())));
    return mapped;
  }

  llvm::Value* Packed(llvm::Value* value, llvm::Value* when) {
    llvm::Value* upper = builder_.CreateShl(builder_.CreateSExt(Mapped(value), builder_.getInt64Ty()), kPlaceBits);
    return builder_.CreateOr(upper, when);
  }

  // One variable instead of the key, along its phis.
  void Pack() {
    const Variable& key = variables_[key_];
    llvm::PHINode* pass = Counter(region_, "pass.of");
    llvm::Value* when = pass;
    llvm::PHINode* iteration = inner_ ? Counter(*inner_, "iteration.of") : nullptr;
    for (llvm::PHINode* phi : key.phis) {
      builder_.SetInsertPoint(phi);
      packed_[phi] = builder_.CreatePHI(builder_.getInt64Ty(), phi->getNumIncomingValues(), "placed");
    }
    builder_.SetInsertPoint(key.setter);
    if (iteration) when = builder_.CreateAdd(builder_.CreateShl(pass, iteration_bits_), iteration);
    when = first_ ? builder_.CreateSub(builder_.getInt64(Unset() - 1), when)
                  : builder_.CreateAdd(when, builder_.getInt64(1));
    llvm::Value* candidate = Packed(value_, builder_.CreateAnd(when, 0xffffffff));
    llvm::Value* before = key.before();
    packed_[key.setter] = builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, packed_.at(before), candidate);
    builder_.SetInsertPoint(ahead_);
    llvm::Value* start = key.phi->getIncomingValueForBlock(region_.getLoopPreheader());
    llvm::Value* low = builder_.CreateTrunc(start, value_->getType());
    llvm::Value* packed_start = Packed(low, builder_.getInt64(Unset()));
    for (llvm::PHINode* phi : key.phis) {
      auto* copy = llvm::cast<llvm::PHINode>(packed_.at(phi));
      for (unsigned i = 0; i < phi->getNumIncomingValues(); ++i) {
        llvm::BasicBlock* from = phi->getIncomingBlock(i);
        const bool at_start = phi == key.phi && from == region_.getLoopPreheader();
        copy->addIncoming(at_start ? packed_start : packed_.at(phi->getIncomingValue(i)), from);
      }
    }
  }

  // What the key has where `variable` has `value`: both are chosen alike.
  llvm::Value* PackedBeside(const Variable& variable, const llvm::Instruction* value) const {
    if (value == variable.setter) return packed_.at(variables_[key_].setter);
    for (const auto& [of, packed] : packed_) {
      const auto* phi = llvm::dyn_cast<llvm::PHINode>(of);
      const auto* other = llvm::dyn_cast<llvm::PHINode>(value);
      if (phi && other && phi->getParent() == other->getParent()) return packed;
    }
    return nullptr;
  }

  // Uses behind the loop: of what the last pass had in the end.
  void ReplaceOutside(const Variable& variable) {
    const size_t number = static_cast<size_t>(&variable - variables_.data());
    std::vector<llvm::Instruction*> values(variable.phis.begin(), variable.phis.end());
    values.push_back(variable.setter);
    for (llvm::Instruction* value : values) {
      std::vector<llvm::Use*> uses;
      for (llvm::Use& use : value->uses()) {
        if (!region_.contains(llvm::cast<llvm::Instruction>(use.getUser()))) uses.push_back(&use);
      }
      for (llvm::Use* use : uses) {
        auto* user = llvm::cast<llvm::Instruction>(use->getUser());
        llvm::Value* packed = PackedBeside(variable, value);
        if (auto* behind = llvm::dyn_cast<llvm::PHINode>(user)) {
          if (behind->getNumIncomingValues() != 1) {
            builder_.SetInsertPoint(behind->getIncomingBlock(*use)->getTerminator());
            use->set(Unpacked(variable, number, packed));
            continue;
          }
          builder_.SetInsertPoint(behind);
          llvm::PHINode* packed_behind = builder_.CreatePHI(builder_.getInt64Ty(), 1, "placed.end");
          packed_behind->addIncoming(packed, behind->getIncomingBlock(0));
          builder_.SetInsertPoint(behind->getParent(), behind->getParent()->getFirstInsertionPt());
          behind->replaceAllUsesWith(Unpacked(variable, number, packed_behind));
          continue;
        }
        builder_.SetInsertPoint(user);
        use->set(Unpacked(variable, number, packed));
      }
    }
  }

  // Nothing needs the variables any more.
  void Remove() {
    std::vector<llvm::Instruction*> unused;
    for (const Variable& variable : variables_) {
      unused.insert(unused.end(), variable.phis.begin(), variable.phis.end());
      unused.push_back(variable.setter);
    }
    for (llvm::User* user : llvm::make_early_inc_range(compare_->users())) {
      if (auto* branch = llvm::dyn_cast<llvm::BranchInst>(user))
        branch->setCondition(llvm::ConstantInt::getTrue(branch->getContext()));
    }
    for (llvm::Instruction* instruction : unused)
      instruction->replaceAllUsesWith(llvm::PoisonValue::get(instruction->getType()));
    for (llvm::Instruction* instruction : unused) instruction->eraseFromParent();
  }

  llvm::Value* Unpacked(const Variable& variable, size_t number, llvm::Value* packed) {
    llvm::Type* type = variable.phi->getType();
    llvm::Value* start = variable.phi->getIncomingValueForBlock(region_.getLoopPreheader());
    llvm::Value* when = builder_.CreateAnd(packed, 0xffffffff);
    llvm::Value* is_set = builder_.CreateICmpNE(when, builder_.getInt64(Unset()));
    llvm::Value* found = nullptr;
    if (IsValue(number)) {
      found = Mapped(builder_.CreateTrunc(builder_.CreateAShr(packed, kPlaceBits), value_->getType()));
      const bool is_signed = llvm::isa<llvm::SExtInst>(variable.set_to);
      found = is_signed ? builder_.CreateSExt(found, type) : builder_.CreateZExt(found, type);
    } else {
      when = first_ ? builder_.CreateSub(builder_.getInt64(Unset() - 1), when)
                    : builder_.CreateSub(when, builder_.getInt64(1));
      found = PlaceAt(places_[number], when, type);
    }
    return builder_.CreateSelect(is_set, found, start);
  }

  llvm::Value* PlaceAt(const Affine& place, llvm::Value* when, llvm::Type* type) {
    llvm::Value* found = place.start;
    const auto add = [&](llvm::Value* step, llvm::Value* times) {
      if (!step) return;
      llvm::Value* in_width = builder_.CreateZExtOrTrunc(times, found->getType());
      found = builder_.CreateAdd(found, builder_.CreateMul(in_width, step));
    };
    add(place.by_pass, builder_.CreateLShr(when, iteration_bits_));
    add(place.by_iteration, builder_.CreateAnd(when, (uint64_t{1} << iteration_bits_) - 1));
    if (place.cast != 0) found = builder_.CreateCast(static_cast<llvm::Instruction::CastOps>(place.cast), found, type);
    return found;
  }

  const LoopShape& shape_;
  llvm::Loop& region_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  llvm::Instruction* ahead_;
  llvm::SCEVExpander expander_;
  llvm::IRBuilder<> builder_;
  std::vector<Variable> variables_;
  size_t key_ = 0;
  llvm::ICmpInst* compare_ = nullptr;
  llvm::Value* value_ = nullptr;
  bool is_signed_ = false, greatest_ = false, first_ = false;
  llvm::Loop* inner_ = nullptr;
  std::vector<Affine> places_;  // by variable
  unsigned iteration_bits_ = 0;
  std::map<const llvm::Value*, llvm::Value*> packed_;
};

// Whether the phis of both choose alike, block by block: where one has its value from before, so has the other.
bool GoTogether(const Variable& a, const Variable& b) {
  if (a.phis.size() != b.phis.size() || a.setter->getParent() != b.setter->getParent()) return false;
  const auto beside = [&](const llvm::Value* value) -> const llvm::Value* {
    if (value == a.setter) return b.setter;
    const auto* phi = llvm::dyn_cast<llvm::PHINode>(value);
    const auto found = std::ranges::find_if(
        b.phis, [&](const llvm::PHINode* other) { return phi && other->getParent() == phi->getParent(); });
    return found == b.phis.end() ? nullptr : *found;
  };
  const auto chooses_alike = [&](const llvm::PHINode* phi) {
    const auto* other = llvm::dyn_cast_or_null<llvm::PHINode>(beside(phi));
    if (!other || (phi == a.phi) != (other == b.phi)) return false;
    return llvm::all_of(phi->blocks(), [&](llvm::BasicBlock* from) {
      const llvm::Value* value = phi->getIncomingValueForBlock(from);
      return !a.Has(value) || beside(value) == other->getIncomingValueForBlock(from);
    });
  };
  const bool same_side = (a.set_to == a.setter->getTrueValue()) == (b.set_to == b.setter->getTrueValue());
  std::set<const llvm::BasicBlock*> blocks;
  for (const llvm::PHINode* phi : a.phis) blocks.insert(phi->getParent());
  return same_side && blocks.size() == a.phis.size() && beside(a.before()) == b.before() &&
         llvm::all_of(a.phis, chooses_alike);
}

}  // namespace

void ExposePlacedExtremes(const LoopShape& shape, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution) {
  llvm::Loop& region = *shape.loop;
  const auto candidates = [&] {
    std::vector<llvm::PHINode*> found;
    for (llvm::PHINode& phi : region.getHeader()->phis()) {
      if (phi.use_empty() || !phi.getType()->isIntegerTy() || IsRecurrence(phi, &region, evolution)) continue;
      if (KeptValueOf(&phi, &region) || ReductionWebOf(&phi, &region)) continue;
      found.push_back(&phi);
    }
    return found;
  };
  if (candidates().empty()) return;
  if (MakeSelects(region)) evolution.forgetTopmostLoop(&region);
  std::map<llvm::Value*, std::vector<Variable>> by_condition;
  for (llvm::PHINode& phi : region.getHeader()->phis()) {
    if (phi.use_empty() || !phi.getType()->isIntegerTy()) continue;
    if (const auto variable = VariableOf(&phi, region))
      by_condition[variable->setter->getCondition()].push_back(*variable);
  }
  for (const auto& [condition, variables] : by_condition) {
    const bool together =
        llvm::all_of(variables, [&](const Variable& variable) { return GoTogether(variables.front(), variable); });
    if (variables.size() > 1 && together) PlacedExtreme(shape, loops, evolution).Rewrite(variables);
  }
}

}  // namespace tracelift::jit

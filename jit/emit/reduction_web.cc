#include "jit/emit/reduction_web.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/PatternMatch.h>

#include <algorithm>
#include <array>

#include "jit/emit/entry_facts.h"
#include "jit/emit/loop_shape.h"

namespace tracelift::jit {
namespace {

namespace pattern = llvm::PatternMatch;

constexpr uint64_t kLowHalf = 0xffffffff;

bool IsLowHalf(const llvm::Value* value) {
  return pattern::match(value, pattern::m_And(pattern::m_Value(), pattern::m_SpecificInt(kLowHalf)));
}

// Another width of its operand.
bool IsResized(const llvm::Value* value) {
  return llvm::isa<llvm::TruncInst, llvm::ZExtInst, llvm::SExtInst, llvm::FreezeInst>(value) || IsLowHalf(value);
}

const llvm::Value* WithoutResizing(const llvm::Value* value) {
  while (IsResized(value)) value = llvm::cast<llvm::Instruction>(value)->getOperand(0);
  return value;
}

unsigned BitsOf(const llvm::Value* value) { return value->getType()->getIntegerBitWidth(); }

// Whether `low` is all of `value`, or its low bits.
bool HasLowPart(llvm::Value* value, llvm::Value* low) {
  if (value == low) return true;
  if (llvm::isa<llvm::ZExtInst, llvm::SExtInst>(value)) return llvm::cast<llvm::Instruction>(value)->getOperand(0) == low;
  const auto* part = llvm::dyn_cast<llvm::TruncInst>(low);
  if (!part) return false;
  if (part->getOperand(0) == value) return true;
  const bool masked = IsLowHalf(value) && BitsOf(low) <= 32;
  return masked && part->getOperand(0) == llvm::cast<llvm::Instruction>(value)->getOperand(0);
}

std::optional<ReductionKind> KindOfIntrinsic(const llvm::Value* value) {
  const auto* intrinsic = llvm::dyn_cast<llvm::MinMaxIntrinsic>(value);
  if (!intrinsic) return std::nullopt;
  switch (intrinsic->getIntrinsicID()) {
    case llvm::Intrinsic::smin: return ReductionKind::kSMin;
    case llvm::Intrinsic::smax: return ReductionKind::kSMax;
    case llvm::Intrinsic::umin: return ReductionKind::kUMin;
    case llvm::Intrinsic::umax: return ReductionKind::kUMax;
    default: return std::nullopt;
  }
}

// Which of two values `predicate(a, b) ? a : b` chooses.
std::optional<ReductionKind> KindOfChoice(llvm::CmpInst::Predicate predicate) {
  switch (predicate) {
    case llvm::CmpInst::ICMP_SLT:
    case llvm::CmpInst::ICMP_SLE: return ReductionKind::kSMin;
    case llvm::CmpInst::ICMP_SGT:
    case llvm::CmpInst::ICMP_SGE: return ReductionKind::kSMax;
    case llvm::CmpInst::ICMP_ULT:
    case llvm::CmpInst::ICMP_ULE: return ReductionKind::kUMin;
    case llvm::CmpInst::ICMP_UGT:
    case llvm::CmpInst::ICMP_UGE: return ReductionKind::kUMax;
    default: return std::nullopt;
  }
}

// Unsigned values in the order of signed ones: SSE2 compares no others, so both sides have their signs flipped by something
// that the loop does not change.
struct FlippedCompare {
  llvm::Value* left;
  llvm::Value* right;
  llvm::Value* flip;
};

std::optional<FlippedCompare> FlippedCompareOf(const llvm::ICmpInst* compare, const llvm::Loop* loop) {
  const auto* left = llvm::dyn_cast<llvm::BinaryOperator>(compare->getOperand(0));
  const auto* right = llvm::dyn_cast<llvm::BinaryOperator>(compare->getOperand(1));
  if (!compare->isSigned() || !left || !right || left->getOpcode() != right->getOpcode()) return std::nullopt;
  const auto opcode = left->getOpcode();
  constexpr std::array kFlips = {llvm::Instruction::Xor, llvm::Instruction::Add, llvm::Instruction::Sub};
  if (!llvm::is_contained(kFlips, opcode)) return std::nullopt;
  for (unsigned side : {1u, 0u}) {  // either, where they commute: instructions are ordered by what they use
    llvm::Value* flip = left->getOperand(side);
    if (!loop->isLoopInvariant(flip) || (side == 0 && opcode == llvm::Instruction::Sub)) continue;
    for (unsigned other : {1u, 0u}) {
      if (right->getOperand(other) != flip || (other == 0 && opcode == llvm::Instruction::Sub)) continue;
      return FlippedCompare{left->getOperand(1 - side), right->getOperand(1 - other), flip};
    }
  }
  return std::nullopt;
}

class WebFinder {
 public:
  WebFinder(llvm::PHINode* phi, const llvm::Loop* loop) : loop_(loop) { web_.phi = phi; }

  std::optional<ReductionWeb> Find() {
    llvm::Value* next = web_.phi->getIncomingValueForBlock(loop_->getLoopLatch());
    if (web_.phi->getType()->isFloatTy() || web_.phi->getType()->isDoubleTy()) return FindFloats(next);
    if (!web_.phi->getType()->isIntegerTy() || BitsOf(web_.phi) > 64 || next == web_.phi) return std::nullopt;
    least_bits_ = BitsOf(web_.phi);
    if (!Reach() || !Visit(next) || !kind_) return std::nullopt;
    if (least_bits_ < 8) return std::nullopt;
    web_.reduction = {*kind_, static_cast<uint8_t>(least_bits_)};
    if (!FindForms(WebForm::kZeroExtended, next) && !FindForms(WebForm::kSignExtended, next)) return std::nullopt;
    return std::move(web_);
  }

 private:
  std::optional<ReductionWeb> FindFloats(llvm::Value* next) {
    if (next == web_.phi || !Reach() || !VisitFloat(next) || !kind_) return std::nullopt;
    web_.reduction = {*kind_, static_cast<uint8_t>(web_.phi->getType()->getPrimitiveSizeInBits())};
    web_.forms[web_.phi] = WebForm::kSame;
    for (const WebStep& step : web_.steps) web_.forms[step.value] = WebForm::kSame;
    return std::move(web_);
  }

  // The same as Visit: floats have one width, and are combined in another order where all operations allow it.
  bool VisitFloat(llvm::Value* value) {
    if (value == web_.phi || !visited_.insert(value).second) return true;
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (!instruction || !Depends(instruction) || instruction->getType() != web_.phi->getType()) return false;
    const auto visit = [&](llvm::Value* from) { return VisitFloat(from); };
    if (auto* phi = llvm::dyn_cast<llvm::PHINode>(instruction)) return Add({.value = phi}) && llvm::all_of(phi->incoming_values(), visit);
    if (auto* select = llvm::dyn_cast<llvm::SelectInst>(instruction)) {
      return !Depends(select->getCondition()) && visit(select->getTrueValue()) && visit(select->getFalseValue()) && Add({.value = select});
    }
    const unsigned opcode = instruction->getOpcode();
    const bool sums = opcode == llvm::Instruction::FAdd || opcode == llvm::Instruction::FSub;
    if ((!sums && opcode != llvm::Instruction::FMul) || !instruction->hasAllowReassoc() || !instruction->hasNoSignedZeros()) return false;
    const bool subtracts = opcode == llvm::Instruction::FSub;
    const unsigned from = Depends(instruction->getOperand(0)) || subtracts ? 0 : 1;
    llvm::Value *before = instruction->getOperand(from), *with = instruction->getOperand(1 - from);
    const ReductionKind kind = sums ? ReductionKind::kFAdd : ReductionKind::kFMul;
    if (!Depends(before) || Depends(with) || kind_.value_or(kind) != kind) return false;
    kind_ = kind;
    return VisitFloat(before) && Add({.value = instruction, .from = before, .with = with, .subtracts = subtracts});
  }

  // What depends on the accumulator only computes, and nothing goes into another value that is carried.
  bool Reach() {
    std::vector<llvm::Instruction*> work{web_.phi};
    web_.reached.insert(web_.phi);
    while (!work.empty()) {
      llvm::Instruction* value = work.back();
      work.pop_back();
      for (llvm::User* user : value->users()) {
        auto* instruction = llvm::cast<llvm::Instruction>(user);
        if (!loop_->contains(instruction->getParent()) || instruction == web_.phi) continue;
        const bool is_carried = llvm::isa<llvm::PHINode>(instruction) && instruction->getParent() == loop_->getHeader();
        const bool computes = llvm::isa<llvm::PHINode>(instruction) || llvm::isSafeToSpeculativelyExecute(instruction);
        if (is_carried || instruction->isTerminator() || instruction->mayReadOrWriteMemory() || !computes) return false;
        if (web_.reached.insert(instruction).second) work.push_back(instruction);
      }
    }
    return true;
  }

  bool Depends(const llvm::Value* value) const { return web_.reached.contains(value); }

  // From the next pass's value back to the phi. False when `value` is anything else than the accumulator.
  bool Visit(llvm::Value* value) {
    if (value == web_.phi || !visited_.insert(value).second) return true;
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (!instruction || !Depends(instruction) || !instruction->getType()->isIntegerTy()) return false;
    least_bits_ = std::min(least_bits_, BitsOf(instruction));
    if (auto* phi = llvm::dyn_cast<llvm::PHINode>(instruction)) {
      Add({.value = phi});
      return llvm::all_of(phi->incoming_values(), [&](llvm::Value* incoming) { return Visit(incoming); });
    }
    if (IsResized(instruction)) {
      if (IsLowHalf(instruction)) least_bits_ = std::min(least_bits_, 32u);
      return Visit(instruction->getOperand(0)) && Add({.value = instruction, .from = instruction->getOperand(0)});
    }
    if (auto* select = llvm::dyn_cast<llvm::SelectInst>(instruction)) return VisitSelect(select);
    if (const auto kind = KindOfIntrinsic(instruction)) return VisitOperation(instruction, *kind);
    switch (instruction->getOpcode()) {
      case llvm::Instruction::Add:
      case llvm::Instruction::Sub: return VisitOperation(instruction, ReductionKind::kAdd);
      case llvm::Instruction::And: return VisitOperation(instruction, ReductionKind::kAnd);
      case llvm::Instruction::Or: return VisitOperation(instruction, ReductionKind::kOr);
      case llvm::Instruction::Xor: return VisitOperation(instruction, ReductionKind::kXor);
      default: return false;
    }
  }

  bool VisitOperation(llvm::Instruction* operation, ReductionKind kind) {
    const bool subtracts = operation->getOpcode() == llvm::Instruction::Sub;
    const unsigned from = Depends(operation->getOperand(0)) || subtracts ? 0 : 1;
    return Combine(operation, kind, operation->getOperand(from), operation->getOperand(1 - from), subtracts);
  }

  // `c ? sum + x : sum`, or the smaller or larger of two values.
  bool VisitSelect(llvm::SelectInst* select) {
    if (!Depends(select->getCondition())) {
      return Visit(select->getTrueValue()) && Visit(select->getFalseValue()) && Add({.value = select});
    }
    auto* compare = llvm::dyn_cast<llvm::ICmpInst>(select->getCondition());
    if (!compare) return false;
    llvm::Value *left = compare->getOperand(0), *right = compare->getOperand(1);
    const auto flipped = FlippedCompareOf(compare, loop_);
    if (flipped) left = flipped->left, right = flipped->right;
    const bool accumulator_is_left = Depends(left);
    llvm::Value* accumulator = accumulator_is_left ? left : right;
    llvm::Value* other = accumulator_is_left ? right : left;
    const bool chooses_it_if_true = Depends(select->getTrueValue());
    llvm::Value* chosen = chooses_it_if_true ? select->getTrueValue() : select->getFalseValue();
    llvm::Value* otherwise = chooses_it_if_true ? select->getFalseValue() : select->getTrueValue();
    // What is compared is what is chosen: all of it, or the low part that the rest is an extension of.
    if (!accumulator->getType()->isIntegerTy() || WithoutResizing(accumulator) != WithoutResizing(chosen)) return false;
    if (!HasLowPart(otherwise, other)) return false;
    auto predicate = chooses_it_if_true ? compare->getPredicate() : compare->getInversePredicate();
    if (flipped) {
      predicate = llvm::ICmpInst::getUnsignedPredicate(predicate);
      web_.sign_bits.insert(flipped->flip);
    }
    const auto kind = KindOfChoice(accumulator_is_left ? predicate : llvm::CmpInst::getSwappedPredicate(predicate));
    if (!kind) return false;
    least_bits_ = std::min(least_bits_, BitsOf(accumulator));
    otherwise_[select] = otherwise;
    return Visit(accumulator) && Combine(select, *kind, chosen, other, false);
  }

  bool Combine(llvm::Instruction* value, ReductionKind kind, llvm::Value* from, llvm::Value* with, bool subtracts) {
    if (!Depends(from) || Depends(with) || (kind_ && *kind_ != kind)) return false;
    kind_ = kind;
    return Visit(from) && Add({.value = value, .from = from, .with = with, .subtracts = subtracts});
  }

  bool Add(WebStep step) {
    web_.steps.push_back(step);
    return true;
  }

  bool OrdersValues() const {
    return *kind_ != ReductionKind::kAdd && *kind_ != ReductionKind::kAnd && *kind_ != ReductionKind::kOr &&
           *kind_ != ReductionKind::kXor;
  }

  // Supposes that wider values are extensions of the accumulator of this form until one is found that is not. False when
  // the next pass's value is none, or where an order of upper bits would matter.
  bool FindForms(WebForm extension, const llvm::Value* next) {
    web_.forms.clear();
    const auto set = [&](const llvm::Value* value) {
      web_.forms[value] = BitsOf(value) == least_bits_ ? WebForm::kSame : extension;
    };
    set(web_.phi);
    for (const WebStep& step : web_.steps) set(step.value);
    for (bool changed = true; changed;) {
      changed = false;
      for (const WebStep& step : web_.steps) {
        WebForm& form = web_.forms.at(step.value);
        if (form != extension || FormOf(step, extension) == extension) continue;
        form = WebForm::kLowBitsOnly;
        changed = true;
      }
    }
    if (web_.forms.at(next) != web_.forms.at(web_.phi)) return false;
    return !OrdersValues() || llvm::all_of(web_.steps, [&](const WebStep& step) {
      if (!step.with) return true;
      const bool exact = web_.forms.at(step.value) != WebForm::kLowBitsOnly;
      return exact && BitsOf(step.with) == least_bits_;
    });
  }

  // Of a value wider than the accumulator.
  WebForm FormOf(const WebStep& step, WebForm extension) const {
    if (step.with) return FormOfOperation(step, extension);
    if (!step.from) {
      const auto* instruction = llvm::cast<llvm::Instruction>(step.value);
      const auto is_extension = [&](const llvm::Value* operand) {
        const auto form = web_.forms.find(operand);
        return form == web_.forms.end() || form->second == extension;  // only a select's condition is not of the web
      };
      return llvm::all_of(instruction->operands(), is_extension) ? extension : WebForm::kLowBitsOnly;
    }
    const WebForm before = web_.forms.at(step.from);
    if (llvm::isa<llvm::TruncInst, llvm::FreezeInst>(step.value)) return before;
    if (llvm::isa<llvm::ZExtInst>(step.value)) {
      return before == WebForm::kSame || before == WebForm::kZeroExtended ? WebForm::kZeroExtended : WebForm::kLowBitsOnly;
    }
    if (llvm::isa<llvm::SExtInst>(step.value)) return before == WebForm::kSame ? WebForm::kSignExtended : before;
    return least_bits_ == 32 || before == WebForm::kZeroExtended ? WebForm::kZeroExtended : WebForm::kLowBitsOnly;
  }

  // Sums carry into the upper bits; logic keeps them as they are, and a choice by the low parts takes them along.
  WebForm FormOfOperation(const WebStep& step, WebForm extension) const {
    const bool extends_before = web_.forms.at(step.from) == extension;
    const auto otherwise = otherwise_.find(step.value);
    bool extends = false;
    if (otherwise != otherwise_.end()) {
      extends = extends_before && Extends(otherwise->second, extension);
    } else if (extension == WebForm::kZeroExtended && *kind_ == ReductionKind::kAnd) {
      extends = extends_before || Extends(step.with, extension);
    } else if (*kind_ == ReductionKind::kAnd || *kind_ == ReductionKind::kOr || *kind_ == ReductionKind::kXor) {
      extends = extends_before && Extends(step.with, extension);
    }
    return extends ? extension : WebForm::kLowBitsOnly;
  }

  bool Extends(const llvm::Value* value, WebForm extension) const {
    const llvm::DataLayout& layout = loop_->getHeader()->getModule()->getDataLayout();
    const unsigned bits = BitsOf(value);
    if (extension == WebForm::kSignExtended) return llvm::ComputeNumSignBits(value, layout) > bits - least_bits_;
    return llvm::MaskedValueIsZero(value, llvm::APInt::getBitsSetFrom(bits, least_bits_), layout);
  }

  const llvm::Loop* loop_;
  ReductionWeb web_;
  unsigned least_bits_ = 0;
  std::optional<ReductionKind> kind_;
  std::set<const llvm::Value*> visited_;
  std::map<const llvm::Value*, llvm::Value*> otherwise_;  // of selects that compare: what is chosen instead
};

// Whether `whole` is the zero extension of `low` in every pass if it is at entry: both made alike. Adds all such pairs that
// it comes by.
bool IsExtensionOf(llvm::Value* whole, llvm::Value* low, const llvm::Loop& loop,
                   std::map<llvm::Instruction*, llvm::Instruction*>& pairs) {
  auto* wide = llvm::dyn_cast<llvm::Instruction>(whole);
  auto* narrow = llvm::dyn_cast<llvm::Instruction>(low);
  if (!wide || !loop.contains(wide->getParent())) return false;
  if (llvm::isa<llvm::ZExtInst>(wide)) return wide->getOperand(0) == low;
  if (!narrow || wide->getOpcode() != narrow->getOpcode()) return false;
  const auto [known, is_new] = pairs.try_emplace(wide, narrow);
  if (!is_new) return known->second == narrow;
  if (auto* phi = llvm::dyn_cast<llvm::PHINode>(wide)) {
    auto* other = llvm::cast<llvm::PHINode>(narrow);
    const bool starts_elsewhere = phi->getParent() == loop.getHeader() && pairs.size() > 1;  // with a value not looked at
    if (phi->getParent() != other->getParent() || starts_elsewhere) return false;
    return llvm::all_of(phi->blocks(), [&](llvm::BasicBlock* from) {
      if (!loop.contains(from)) return true;
      return IsExtensionOf(phi->getIncomingValueForBlock(from), other->getIncomingValueForBlock(from), loop, pairs);
    });
  }
  if (!llvm::isa<llvm::SelectInst>(wide) || wide->getOperand(0) != narrow->getOperand(0)) return false;
  return IsExtensionOf(wide->getOperand(1), narrow->getOperand(1), loop, pairs) &&
         IsExtensionOf(wide->getOperand(2), narrow->getOperand(2), loop, pairs);
}

bool ExtendLowHalf(llvm::PHINode& whole, llvm::PHINode& low, llvm::Loop& loop) {
  std::map<llvm::Instruction*, llvm::Instruction*> pairs;
  if (!IsExtensionOf(&whole, &low, loop, pairs)) return false;
  llvm::BasicBlock* preheader = loop.getLoopPreheader();
  llvm::Value* start = whole.getIncomingValueForBlock(preheader);
  llvm::IRBuilder<> builder(preheader->getTerminator());
  RelyOn(builder.CreateICmpEQ(start, builder.CreateAnd(start, kLowHalf)), preheader->getTerminator());
  for (const auto& [wide, narrow] : pairs) {
    llvm::BasicBlock* block = narrow->getParent();
    const bool is_phi = llvm::isa<llvm::PHINode>(narrow);
    builder.SetInsertPoint(block, is_phi ? block->getFirstInsertionPt() : std::next(narrow->getIterator()));
    builder.SetCurrentDebugLocation(narrow->getDebugLoc());
    wide->replaceAllUsesWith(builder.CreateZExt(narrow, wide->getType()));
  }
  for (const auto& [wide, narrow] : pairs) wide->eraseFromParent();
  return true;
}

}  // namespace

std::optional<ReductionWeb> ReductionWebOf(llvm::PHINode* phi, const llvm::Loop* loop) {
  return WebFinder(phi, loop).Find();
}

bool IsEndOfPass(const ReductionWeb& web, const llvm::Value* value, const llvm::Loop* loop) {
  const llvm::Value* next = web.phi->getIncomingValueForBlock(loop->getLoopLatch());
  return web.forms.contains(value) && WithoutResizing(value) == WithoutResizing(next);
}

bool ExtendLowHalves(llvm::Loop& loop, llvm::ScalarEvolution& evolution) {
  const auto is_low_half = [&](llvm::PHINode& low, llvm::PHINode& whole) {
    const auto* part = llvm::dyn_cast<llvm::TruncInst>(low.getIncomingValueForBlock(loop.getLoopPreheader()));
    return low.getType()->isIntegerTy(32) && whole.getType()->isIntegerTy(64) && part &&
           part->getOperand(0) == whole.getIncomingValueForBlock(loop.getLoopPreheader());
  };
  for (llvm::PHINode& low : loop.getHeader()->phis()) {
    if (llvm::isa<llvm::SCEVAddRecExpr>(evolution.getSCEV(&low)) || KeptValueOf(&low, &loop)) continue;
    for (llvm::PHINode& whole : loop.getHeader()->phis()) {
      if (is_low_half(low, whole) && ExtendLowHalf(whole, low, loop)) return true;
    }
  }
  return false;
}

}  // namespace tracelift::jit

#include "jit/emit/entry_facts.h"

#include <llvm/Analysis/ConstantFolding.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>

#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "jit/artifact.h"
#include "jit/emit/loop_shape.h"
#include "jit/lift/float_calls.h"

namespace tracelift::jit {
namespace {

constexpr char kFactMarker[] = "tl.fact";
enum : unsigned { kIn = 0, kFlags = 4 };

// The value of expressions over the state at entry, for the state seen.
class Evaluator {
 public:
  Evaluator(const llvm::Function& function, const MachineState& observed)
      : in_(function.getArg(kIn)), observed_(observed), layout_(function.getParent()->getDataLayout()) {}

  // Null when `value` depends on anything else: memory, the pass.
  llvm::Constant* ValueOf(llvm::Value* value) {
    if (auto* constant = llvm::dyn_cast<llvm::Constant>(value)) return constant;
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    if (!instruction) return nullptr;
    const auto [known, is_new] = values_.try_emplace(instruction, nullptr);
    if (is_new) values_[instruction] = Compute(instruction);
    return values_[instruction];
  }

  // An entry value, the low part of one, or a constant, nothing computed: its bits are the machine's.
  llvm::Constant* BitsOf(llvm::Value* value) {
    const auto* part = llvm::dyn_cast<llvm::TruncInst>(value);
    const llvm::Value* source = part ? part->getOperand(0) : value;
    return llvm::isa<llvm::LoadInst>(source) || llvm::isa<llvm::Constant>(source) ? ValueOf(value) : nullptr;
  }

 private:
  llvm::Constant* Compute(llvm::Instruction* instruction) {
    if (auto* load = llvm::dyn_cast<llvm::LoadInst>(instruction)) return Loaded(load);
    if (llvm::isa<llvm::PHINode>(instruction) || instruction->mayReadOrWriteMemory()) return nullptr;
    llvm::SmallVector<llvm::Constant*, 4> operands;
    for (llvm::Value* operand : instruction->operands()) {
      llvm::Constant* constant = llvm::isa<llvm::BasicBlock>(operand) ? nullptr : ValueOf(operand);
      if (!constant) return nullptr;
      operands.push_back(constant);
    }
    if (IsFloatCall(instruction)) {
      const auto& call = *llvm::cast<llvm::CallInst>(instruction);
      return FoldFloatCompare(call, llvm::ArrayRef(operands).take_front(call.arg_size()), FloatControlOf(observed_.mxcsr));
    }
    return llvm::ConstantFoldInstOperands(instruction, operands, layout_);
  }

  llvm::Constant* Loaded(llvm::LoadInst* load) {
    llvm::Type* type = load->getType();
    if (load->isVolatile() || !(type->isIntegerTy() || type->isFloatTy() || type->isDoubleTy())) return nullptr;
    llvm::APInt offset(64, 0);
    if (load->getPointerOperand()->stripAndAccumulateConstantOffsets(layout_, offset, true) != in_) return nullptr;
    const uint64_t at = offset.getZExtValue(), bytes = layout_.getTypeStoreSize(type);
    if (bytes > 8 || at + bytes > sizeof(MachineState)) return nullptr;
    uint64_t bits = 0;
    std::memcpy(&bits, reinterpret_cast<const char*>(&observed_) + at, bytes);
    const unsigned width = static_cast<unsigned>(type->getPrimitiveSizeInBits());
    llvm::Constant* number = llvm::ConstantInt::get(type->getContext(), llvm::APInt(64, bits).trunc(width));
    return llvm::ConstantExpr::getBitCast(number, type);
  }

  const llvm::Value* in_;
  const MachineState& observed_;
  const llvm::DataLayout& layout_;
  std::map<llvm::Instruction*, llvm::Constant*> values_;
};

// `if (beta == 0)` inside the loop goes the way it went.
bool DecideBranches(llvm::Loop& loop, Evaluator& evaluator) {
  llvm::Instruction* ahead = loop.getLoopPreheader()->getTerminator();
  bool changed = false;
  for (llvm::BasicBlock* block : loop.blocks()) {
    auto* branch = llvm::dyn_cast<llvm::BranchInst>(block->getTerminator());
    if (!branch || !branch->isConditional() || llvm::isa<llvm::Constant>(branch->getCondition())) continue;
    llvm::Value* condition = branch->getCondition();
    llvm::Constant* seen = evaluator.ValueOf(condition);
    if (!seen || !llvm::isa<llvm::ConstantInt>(seen)) continue;
    bool moved = false;
    if (!loop.makeLoopInvariant(condition, moved, ahead)) continue;
    llvm::IRBuilder<> builder(ahead);
    llvm::Value* fact = seen->isOneValue() ? condition : builder.CreateNot(condition);
    condition->replaceUsesWithIf(seen, [&](const llvm::Use& use) {
      return loop.contains(llvm::cast<llvm::Instruction>(use.getUser())->getParent());
    });
    RelyOn(fact, ahead);
    changed = true;
  }
  return changed;
}

// The phis and selects of the loop that hand on `phi`, and what enters them from elsewhere.
struct Web {
  std::vector<llvm::Instruction*> members;
  std::vector<llvm::Value*> sources;
};

Web WebOf(llvm::PHINode* phi, const llvm::Loop& loop) {
  Web web{{phi}, {}};
  llvm::SmallPtrSet<llvm::Value*, 8> seen{phi};
  const auto add = [&](llvm::Value* value) {
    if (!seen.insert(value).second) return;
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    const bool hands_on = instruction && loop.contains(instruction->getParent()) &&
                          (llvm::isa<llvm::PHINode>(instruction) || llvm::isa<llvm::SelectInst>(instruction));
    if (hands_on) {
      web.members.push_back(instruction);
    } else {
      web.sources.push_back(value);
    }
  };
  for (size_t i = 0; i < web.members.size(); ++i) {
    if (auto* select = llvm::dyn_cast<llvm::SelectInst>(web.members[i])) {
      add(select->getTrueValue());
      add(select->getFalseValue());
    } else {
      for (llvm::Value* value : llvm::cast<llvm::PHINode>(web.members[i])->incoming_values()) add(value);
    }
  }
  return web;
}

// A register that some way round the loop loads again (alpha, after a call) with what it held already.
bool UniteWebs(llvm::Loop& loop, Evaluator& evaluator) {
  llvm::Instruction* ahead = loop.getLoopPreheader()->getTerminator();
  bool changed = false;
  for (llvm::PHINode& phi : loop.getHeader()->phis()) {
    if (phi.use_empty() || KeptValueOf(&phi, &loop)) continue;
    const Web web = WebOf(&phi, loop);
    llvm::Constant* seen = evaluator.BitsOf(web.sources.front());
    if (!seen) continue;
    const bool all_equal = llvm::all_of(web.sources, [&](llvm::Value* source) {
      return loop.isLoopInvariant(source) && evaluator.BitsOf(source) == seen;
    });
    if (!all_equal) continue;
    // A constant among them makes it one.
    const auto constant = llvm::find_if(web.sources, [](llvm::Value* source) { return llvm::isa<llvm::Constant>(source); });
    llvm::Value* one = constant != web.sources.end() ? *constant : web.sources.front();
    llvm::IRBuilder<> builder(ahead);
    llvm::Type* bits = builder.getIntNTy(static_cast<unsigned>(phi.getType()->getPrimitiveSizeInBits()));
    for (llvm::Value* source : web.sources) {
      if (source == one) continue;
      RelyOn(builder.CreateICmpEQ(builder.CreateBitCast(source, bits), builder.CreateBitCast(one, bits)), ahead);
    }
    for (llvm::Instruction* member : web.members) member->replaceAllUsesWith(one);
    changed = true;
  }
  return changed;
}

bool IsArithmetic(const llvm::Value* value) {
  const auto* binary = llvm::dyn_cast<llvm::BinaryOperator>(value);
  return binary && binary->getType()->isFPOrFPVectorTy();
}

}  // namespace

void RelyOn(llvm::Value* fact, llvm::Instruction* where) {
  llvm::Module& module = *where->getModule();
  llvm::LLVMContext& context = module.getContext();
  auto* type = llvm::FunctionType::get(llvm::Type::getVoidTy(context), {llvm::Type::getInt1Ty(context)}, false);
  llvm::FunctionCallee marker = module.getOrInsertFunction(kFactMarker, type);
  auto* function = llvm::cast<llvm::Function>(marker.getCallee());
  function->setDoesNotThrow();
  function->addFnAttr(llvm::Attribute::WillReturn);
  function->setOnlyAccessesInaccessibleMemory();
  llvm::IRBuilder<>(where).CreateCall(marker, {fact});
}

bool CheckFacts(llvm::Function& function, llvm::Instruction* before) {
  llvm::Function* marker = function.getParent()->getFunction(kFactMarker);
  if (!marker || marker->use_empty()) return false;
  std::vector<llvm::CallInst*> facts;
  for (llvm::User* user : marker->users()) facts.push_back(llvm::cast<llvm::CallInst>(user));
  llvm::IRBuilder<> builder(before);
  std::vector<llvm::Value*> all;
  for (llvm::CallInst* fact : facts) all.push_back(fact->getArgOperand(0));
  llvm::Value* otherwise = builder.CreateNot(builder.CreateAnd(all));
  llvm::Instruction* unlike = llvm::SplitBlockAndInsertIfThen(otherwise, before->getIterator(), true);
  builder.SetInsertPoint(unlike);
  llvm::Value* pointer = function.getArg(kFlags);
  llvm::Value* flags = builder.CreateLoad(builder.getInt32Ty(), pointer);
  builder.CreateStore(builder.CreateOr(flags, builder.getInt32(kFlagUnlike)), pointer);
  builder.CreateRet(builder.getInt32(0));
  unlike->eraseFromParent();
  for (llvm::CallInst* fact : facts) fact->eraseFromParent();
  return true;
}

bool RelyOnObservedState(llvm::Loop& loop, const MachineState& observed) {
  if (!loop.getLoopPreheader()) return false;
  Evaluator evaluator(*loop.getHeader()->getParent(), observed);
  const bool united = UniteWebs(loop, evaluator);
  return DecideBranches(loop, evaluator) || united;
}

bool RelyOnSteps(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const MachineState& observed) {
  std::set<llvm::Value*> entry_values;
  for (llvm::PHINode& phi : loop.getHeader()->phis()) {
    if (!IsRecurrence(phi, &loop, evolution)) continue;
    const auto* recurrence = llvm::cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(&phi));
    llvm::SCEVExprContains(recurrence->getStepRecurrence(evolution), [&](const llvm::SCEV* part) {
      if (const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(part)) entry_values.insert(unknown->getValue());
      return false;
    });
  }
  Evaluator evaluator(*loop.getHeader()->getParent(), observed);
  llvm::Instruction* ahead = loop.getLoopPreheader()->getTerminator();
  llvm::IRBuilder<> builder(ahead);
  for (llvm::Value* value : entry_values) {
    llvm::Constant* seen = evaluator.ValueOf(value);
    if (!seen || !llvm::isa<llvm::ConstantInt>(seen) || !loop.isLoopInvariant(value)) return false;
    RelyOn(builder.CreateICmpEQ(value, seen), ahead);
    value->replaceUsesWithIf(seen, [&](const llvm::Use& use) {
      return loop.contains(llvm::cast<llvm::Instruction>(use.getUser())->getParent());
    });
  }
  if (!entry_values.empty()) evolution.forgetTopmostLoop(&loop);
  return llvm::all_of(loop.getHeader()->phis(), [&](llvm::PHINode& phi) {
    if (!IsRecurrence(phi, &loop, evolution)) return true;
    const auto* recurrence = llvm::cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(&phi));
    return llvm::isa<llvm::SCEVConstant>(recurrence->getStepRecurrence(evolution));
  });
}

void LeaveOutFactorsOfOne(llvm::Loop& loop, const MachineState& observed) {
  if (!loop.getLoopPreheader()) return;
  Evaluator evaluator(*loop.getHeader()->getParent(), observed);
  llvm::SmallPtrSet<llvm::Value*, 4> ones;
  for (llvm::BasicBlock* block : loop.blocks()) {
    for (llvm::Instruction& product : *block) {
      if (product.getOpcode() != llvm::Instruction::FMul || product.getType()->isVectorTy()) continue;
      const auto is_one = [&](llvm::Value* factor) {
        if (llvm::isa<llvm::Constant>(factor) || !loop.isLoopInvariant(factor)) return false;
        const auto* seen = llvm::dyn_cast_or_null<llvm::ConstantFP>(evaluator.BitsOf(factor));
        return seen && seen->isExactlyValue(1.0);
      };
      for (unsigned i : {0u, 1u}) {
        llvm::Value* one = product.getOperand(i);
        if (!is_one(one)) continue;
        llvm::Value* other = product.getOperand(1 - i);
        bool left_out = false;
        product.replaceUsesWithIf(other, [&](const llvm::Use& use) {
          const bool inside = loop.contains(llvm::cast<llvm::Instruction>(use.getUser()));
          left_out |= inside && IsArithmetic(use.getUser());
          return inside && IsArithmetic(use.getUser());
        });
        if (left_out) ones.insert(one);
        break;
      }
    }
  }
  llvm::IRBuilder<> builder(loop.getLoopPreheader()->getTerminator());
  for (llvm::Value* one : ones) {
    llvm::Type* bits = builder.getIntNTy(static_cast<unsigned>(one->getType()->getPrimitiveSizeInBits()));
    llvm::Value* seen = builder.CreateBitCast(llvm::ConstantFP::get(one->getType(), 1.0), bits);
    RelyOn(builder.CreateICmpEQ(builder.CreateBitCast(one, bits), seen), loop.getLoopPreheader()->getTerminator());
  }
}

}  // namespace tracelift::jit

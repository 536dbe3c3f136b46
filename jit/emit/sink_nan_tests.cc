#include "jit/emit/sink_nan_tests.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/PatternMatch.h>

#include <map>
#include <vector>

namespace tracelift::jit {
namespace {

using namespace llvm::PatternMatch;

bool IsArithmetic(const llvm::Value* value) {
  const auto* binary = llvm::dyn_cast<llvm::BinaryOperator>(value);
  if (!binary) return false;
  const unsigned opcode = binary->getOpcode();
  return opcode == llvm::Instruction::FAdd || opcode == llvm::Instruction::FSub || opcode == llvm::Instruction::FMul ||
         opcode == llvm::Instruction::FDiv;
}

class Sinker {
 public:
  explicit Sinker(llvm::Loop& loop) : loop_(loop) {
    for (llvm::PHINode& phi : loop.getHeader()->phis())
      carried_[phi.getIncomingValueForBlock(loop.getLoopLatch())] = &phi;
  }

  void Run(llvm::PHINode& flag) {
    auto* end = llvm::dyn_cast<llvm::BranchInst>(loop_.getLoopLatch()->getTerminator());
    if (!end || end->isUnconditional()) return;
    llvm::BasicBlock* exit = end->getSuccessor(loop_.contains(end->getSuccessor(0)) ? 1 : 0);
    if (loop_.contains(exit) || exit->getSinglePredecessor() != loop_.getLoopLatch()) return;
    // The links of the chain flag | test | test ..., and the tests to take out of it.
    llvm::Value* last = flag.getIncomingValueForBlock(loop_.getLoopLatch());
    std::vector<std::pair<llvm::Instruction*, llvm::Value*>> sunk;
    for (llvm::Value* link = last; link != &flag;) {
      llvm::Value *a = nullptr, *b = nullptr;
      if (!match(link, m_Or(m_Value(a), m_Value(b))) || !loop_.contains(llvm::cast<llvm::Instruction>(link))) return;
      if (LeadsTo(b, &flag)) std::swap(a, b);
      if (!LeadsTo(a, &flag)) return;
      if (link != last && !link->hasOneUse()) return;
      if (IsSinkable(b)) sunk.emplace_back(llvm::cast<llvm::Instruction>(link), b);
      link = a;
    }
    if (sunk.empty()) return;
    std::vector<llvm::PHINode*> outside;
    for (llvm::User* user : last->users()) {
      if (user == &flag) continue;
      auto* phi = llvm::dyn_cast<llvm::PHINode>(user);
      if (phi && phi->getParent() == exit) {
        outside.push_back(phi);
      } else if (std::none_of(sunk.begin(), sunk.end(), [&](const auto& link) { return link.first == user; })) {
        return;
      }
    }
    llvm::IRBuilder<> builder(exit, exit->getFirstInsertionPt());
    llvm::Value* tests = nullptr;
    for (const auto& [link, test] : sunk) {
      llvm::Value* copy = CopyTo(exit, test, builder);
      tests = tests ? builder.CreateOr(tests, copy) : copy;
    }
    for (llvm::PHINode* phi : outside) {
      auto* with_tests = llvm::cast<llvm::Instruction>(builder.CreateOr(phi, tests));
      phi->replaceUsesWithIf(with_tests, [&](llvm::Use& use) { return use.getUser() != with_tests; });
    }
    for (const auto& [link, test] : sunk)
      link->replaceAllUsesWith(link->getOperand(link->getOperand(0) == test ? 1 : 0));
  }

 private:
  bool LeadsTo(llvm::Value* value, const llvm::Value* flag) const {
    while (value != flag) {
      llvm::Value *a = nullptr, *b = nullptr;
      if (!match(value, m_Or(m_Value(a), m_Value(b)))) return false;
      if (LeadsTo(a, flag)) return true;
      value = b;
    }
    return true;
  }

  // NaN in one iteration is NaN in the last.
  bool Stays(llvm::Value* value) const {
    const auto found = carried_.find(value);
    if (found == carried_.end()) return false;
    constexpr int kLongest = 4;
    std::vector<llvm::Value*> operands{value};
    for (int depth = 0; depth < kLongest; ++depth) {
      std::vector<llvm::Value*> next;
      for (llvm::Value* operand : operands) {
        if (!IsArithmetic(operand) || !loop_.contains(llvm::cast<llvm::Instruction>(operand))) continue;
        for (llvm::Value* from : llvm::cast<llvm::Instruction>(operand)->operands()) {
          if (from == found->second) return true;
          next.push_back(from);
        }
      }
      operands = next;
    }
    return false;
  }

  // What a test tests; null when it is none.
  static llvm::Value* Tested(llvm::Value* test) {
    llvm::Value *value = nullptr, *other = nullptr;
    llvm::CmpInst::Predicate predicate{};
    if (match(test, m_FCmp(predicate, m_Value(value), m_Value(other))) && predicate == llvm::CmpInst::FCMP_UNO &&
        (other == value || match(other, m_AnyZeroFP()))) {
      return value;
    }
    const llvm::APInt *mask = nullptr, *infinity = nullptr;
    if (match(test, m_ICmp(predicate, m_And(m_BitCast(m_Value(value)), m_APInt(mask)), m_APInt(infinity))) &&
        predicate == llvm::CmpInst::ICMP_UGT && mask->isMaxSignedValue() && value->getType()->isFPOrFPVectorTy() &&
        *infinity == llvm::APFloat::getInf(value->getType()->getScalarType()->getFltSemantics()).bitcastToAPInt()) {
      return value;
    }
    return nullptr;
  }

  bool IsSinkable(llvm::Value* test) const {
    if (llvm::Value* value = Tested(test)) return Stays(value);
    llvm::Value *a = nullptr, *b = nullptr;
    if (match(test, m_Or(m_Value(a), m_Value(b)))) return IsSinkable(a) && IsSinkable(b);
    const auto* reduced = llvm::dyn_cast<llvm::IntrinsicInst>(test);
    return reduced && reduced->getIntrinsicID() == llvm::Intrinsic::vector_reduce_or &&
           IsSinkable(reduced->getArgOperand(0));
  }

  llvm::Value* CopyTo(llvm::BasicBlock* exit, llvm::Value* test, llvm::IRBuilder<>& builder) {
    if (llvm::Value* value = Tested(test)) {
      auto* behind = llvm::PHINode::Create(value->getType(), 1, "sum", exit->begin());
      behind->addIncoming(value, loop_.getLoopLatch());
      return builder.CreateFCmpUNO(behind, behind);
    }
    llvm::Value *a = nullptr, *b = nullptr;
    if (match(test, m_Or(m_Value(a), m_Value(b)))) {
      llvm::Value* first = CopyTo(exit, a, builder);
      return builder.CreateOr(first, CopyTo(exit, b, builder));
    }
    return builder.CreateOrReduce(CopyTo(exit, llvm::cast<llvm::IntrinsicInst>(test)->getArgOperand(0), builder));
  }

  llvm::Loop& loop_;
  std::map<llvm::Value*, llvm::PHINode*> carried_;
};

}  // namespace

void SinkNaNTests(llvm::Function& function, Analyses& analyses) {
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  // Inner loops first: what they leave behind them may go on behind the next.
  const auto outer_first = loops.getLoopsInPreorder();
  for (llvm::Loop* loop : llvm::reverse(outer_first)) {
    if (!loop->getLoopLatch()) continue;
    for (llvm::PHINode& phi : loop->getHeader()->phis()) {
      if (phi.getType()->getScalarType()->isIntegerTy(1)) Sinker(*loop).Run(phi);
    }
  }
  analyses.function.clear();
}

}  // namespace tracelift::jit

#include "jit/emit/partial_writes.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/PatternMatch.h>

#include <optional>
#include <vector>

namespace tracelift::jit {
namespace {

namespace pattern = llvm::PatternMatch;

// The phis inside `loop` that a header phi exchanges values with, and the bits that none of their other sources changes.
struct Variable {
  std::vector<llvm::PHINode*> members;
  std::vector<llvm::BinaryOperator*> merges;  // and(member, kept), part of or(and(member, kept), new low part)
  llvm::APInt kept;
};

std::optional<Variable> VariableOf(llvm::PHINode* header_phi, const llvm::Loop& loop) {
  const llvm::DataLayout& layout = header_phi->getModule()->getDataLayout();
  Variable variable{{header_phi}, {}, llvm::APInt::getAllOnes(header_phi->getType()->getIntegerBitWidth())};
  std::vector<llvm::Instruction*> sources;
  llvm::SmallPtrSet<llvm::Value*, 8> seen{header_phi};
  for (size_t i = 0; i < variable.members.size(); ++i) {
    llvm::PHINode* member = variable.members[i];
    for (unsigned k = 0; k < member->getNumIncomingValues(); ++k) {
      if (member == header_phi && !loop.contains(member->getIncomingBlock(k))) continue;  // the start
      auto* instruction = llvm::dyn_cast<llvm::Instruction>(member->getIncomingValue(k));
      if (!instruction || !loop.contains(instruction->getParent())) return std::nullopt;
      if (!seen.insert(instruction).second) continue;
      if (auto* phi = llvm::dyn_cast<llvm::PHINode>(instruction)) {
        variable.members.push_back(phi);
      } else {
        sources.push_back(instruction);
      }
    }
  }
  for (llvm::Instruction* source : sources) {
    llvm::BinaryOperator* merge = nullptr;
    llvm::Value *member = nullptr, *low = nullptr;
    const llvm::APInt* kept = nullptr;
    const auto old = pattern::m_CombineAnd(pattern::m_BinOp(merge), pattern::m_And(pattern::m_Value(member), pattern::m_APInt(kept)));
    if (!pattern::match(source, pattern::m_c_Or(old, pattern::m_Value(low)))) return std::nullopt;
    if (!seen.contains(member) || !llvm::isa<llvm::PHINode>(member)) return std::nullopt;
    if (!llvm::MaskedValueIsZero(low, *kept, llvm::SimplifyQuery(layout))) return std::nullopt;
    variable.kept &= *kept;
    variable.merges.push_back(merge);
  }
  return variable.merges.empty() || variable.kept.isZero() ? std::nullopt : std::optional(std::move(variable));
}

}  // namespace

bool ReadUnwrittenPartsFromStart(llvm::LoopInfo& loops) {
  bool changed = false;
  for (llvm::Loop* loop : loops.getLoopsInPreorder()) {
    llvm::BasicBlock* preheader = loop->getLoopPreheader();
    if (!preheader) continue;
    for (llvm::PHINode& phi : loop->getHeader()->phis()) {
      if (!phi.getType()->isIntegerTy()) continue;
      const std::optional<Variable> variable = VariableOf(&phi, *loop);
      if (!variable) continue;
      llvm::IRBuilder<> builder(preheader->getTerminator());
      llvm::Value* start = phi.getIncomingValueForBlock(preheader);
      for (llvm::BinaryOperator* merge : variable->merges) {
        // Bits that another merge of the same variable changes are still the member's.
        const llvm::APInt mask = llvm::cast<llvm::ConstantInt>(merge->getOperand(1))->getValue();
        if (mask != variable->kept) continue;
        merge->replaceAllUsesWith(builder.CreateAnd(start, llvm::ConstantInt::get(start->getType(), mask)));
        changed = true;
      }
    }
  }
  return changed;
}

}  // namespace tracelift::jit

#include "jit/emit/reduce_by_pass.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>

#include "jit/emit/loop_shape.h"

namespace tracelift::jit {

std::optional<std::vector<llvm::PHINode*>> ReduceByPass(llvm::Loop& region, llvm::ScalarEvolution& evolution,
                                                        unsigned lanes) {
  llvm::Function& function = *region.getHeader()->getParent();
  llvm::BasicBlock* latch = region.getLoopLatch();
  std::vector<llvm::PHINode*> reduced;
  for (llvm::PHINode& phi : region.getHeader()->phis()) {
    if (IsRecurrence(phi, &region, evolution) || KeptValueOf(&phi, &region)) continue;
    auto* next = llvm::dyn_cast<llvm::Instruction>(phi.getIncomingValueForBlock(latch));
    if (!next || phi.getType()->isPointerTy() || phi.getType()->isVectorTy() ||
        !llvm::isa<llvm::Constant>(phi.getIncomingValueForBlock(region.getLoopPreheader())))
      return std::nullopt;
    const uint64_t bits = phi.getType()->getPrimitiveSizeInBits();
    if (bits != 8 && bits != 16 && bits != 32 && bits != 64) return std::nullopt;
    reduced.push_back(&phi);
  }
  // The one use behind the loop.
  std::vector<llvm::Instruction*> combined;
  for (const llvm::PHINode* phi : reduced) {
    auto* next = llvm::cast<llvm::Instruction>(phi->getIncomingValueForBlock(latch));
    std::vector<llvm::Instruction*> behind;
    for (llvm::User* user : next->users()) {
      if (!region.contains(llvm::cast<llvm::Instruction>(user))) behind.push_back(llvm::cast<llvm::Instruction>(user));
    }
    if (behind.size() != 1) return std::nullopt;
    if (auto* lcssa = llvm::dyn_cast<llvm::PHINode>(behind[0])) {
      if (lcssa->getNumIncomingValues() != 1 || !lcssa->hasOneUse()) return std::nullopt;
      behind[0] = llvm::cast<llvm::Instruction>(*lcssa->user_begin());
    }
    const bool combines = llvm::isa<llvm::BinaryOperator, llvm::MinMaxIntrinsic>(behind[0]) &&
                          behind[0]->isAssociative() && behind[0]->isCommutative();
    if (!combines) return std::nullopt;
    combined.push_back(behind[0]);
  }
  llvm::PHINode* pass = nullptr;
  for (llvm::PHINode& phi : region.getHeader()->phis()) {
    const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(&phi));
    if (recurrence && recurrence->getLoop() == &region && phi.getType()->isIntegerTy(64) &&
        recurrence->getStart()->isZero() && recurrence->getStepRecurrence(evolution)->isOne())
      pass = &phi;
  }
  if (!reduced.empty() && !pass) return std::nullopt;
  llvm::IRBuilder<> builder(function.getContext());
  for (size_t i = 0; i < reduced.size(); ++i) {
    llvm::Type* type = reduced[i]->getType();
    llvm::Value* next = reduced[i]->getIncomingValueForBlock(latch);
    builder.SetInsertPoint(&function.getEntryBlock(), function.getEntryBlock().begin());
    llvm::AllocaInst* places = builder.CreateAlloca(llvm::ArrayType::get(type, lanes), nullptr, "reduced");
    builder.SetInsertPoint(latch->getTerminator());
    const uint64_t bytes = type->getPrimitiveSizeInBits() / 8;
    llvm::Value* place =
        builder.CreateGEP(builder.getInt8Ty(), places, builder.CreateMul(pass, builder.getInt64(bytes)));
    builder.CreateAlignedStore(next, place, llvm::Align(1));
    builder.SetInsertPoint(combined[i]);
    for (unsigned operand : {0u, 1u}) {
      llvm::Value* used = combined[i]->getOperand(operand);
      if (auto* lcssa = llvm::dyn_cast<llvm::PHINode>(used); lcssa && lcssa->getNumIncomingValues() == 1)
        used = lcssa->getIncomingValue(0);
      if (used != next) continue;
      llvm::Value* all = nullptr;
      for (unsigned lane = 0; lane < lanes; ++lane) {
        llvm::Value* one = builder.CreateAlignedLoad(
            type, builder.CreateConstGEP1_64(builder.getInt8Ty(), places, lane * bytes), llvm::Align(1));
        if (all) {
          llvm::Instruction* with = combined[i]->clone();
          with->dropPoisonGeneratingFlags();
          with->setOperand(0, all);
          with->setOperand(1, one);
          one = builder.Insert(with);
        }
        all = one;
      }
      combined[i]->setOperand(operand, all);
      break;
    }
  }
  return reduced;
}

}  // namespace tracelift::jit

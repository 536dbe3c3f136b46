#include "jit/emit/alternating_values.h"

#include <llvm/IR/IRBuilder.h>

#include <utility>
#include <vector>

namespace tracelift::jit {

void ExposeAlternatingValues(llvm::Loop& loop, llvm::ScalarEvolution& evolution) {
  llvm::BasicBlock *header = loop.getHeader(), *preheader = loop.getLoopPreheader(), *latch = loop.getLoopLatch();
  if (!preheader || !latch) return;
  std::vector<std::pair<llvm::PHINode*, llvm::PHINode*>> pairs;
  for (llvm::PHINode& phi : header->phis()) {
    auto* other = llvm::dyn_cast<llvm::PHINode>(phi.getIncomingValueForBlock(latch));
    const bool exchanged = other && other->getParent() == header && phi.comesBefore(other) &&
                           other->getIncomingValueForBlock(latch) == &phi;
    if (exchanged && phi.getType()->isIntegerTy(64)) pairs.emplace_back(&phi, other);
  }
  if (pairs.empty()) return;
  llvm::IRBuilder<> builder(header, header->begin());
  llvm::PHINode* turn = builder.CreatePHI(builder.getInt64Ty(), 2, "turn");
  builder.SetInsertPoint(latch->getTerminator());
  turn->addIncoming(builder.getInt64(0), preheader);
  turn->addIncoming(builder.CreateAdd(turn, builder.getInt64(1)), latch);
  builder.SetInsertPoint(header, header->getFirstInsertionPt());
  llvm::Value* odd = builder.CreateZExt(builder.CreateTrunc(turn, builder.getInt1Ty()), builder.getInt64Ty());
  for (const auto& [one, other] : pairs) {
    llvm::Value* a = one->getIncomingValueForBlock(preheader);
    llvm::Value* b = other->getIncomingValueForBlock(preheader);
    builder.SetInsertPoint(preheader->getTerminator());
    llvm::Value* distance = builder.CreateSub(b, a);
    builder.SetInsertPoint(header, header->getFirstInsertionPt());
    if (auto* made = llvm::dyn_cast<llvm::Instruction>(odd)) builder.SetInsertPoint(made->getNextNode());
    llvm::Value* further = builder.CreateMul(odd, distance);
    one->replaceAllUsesWith(builder.CreateAdd(a, further));
    other->replaceAllUsesWith(builder.CreateSub(b, further));
  }
  for (const auto& [one, other] : pairs) {
    one->eraseFromParent();
    other->eraseFromParent();
  }
  evolution.forgetTopmostLoop(&loop);
}

}  // namespace tracelift::jit

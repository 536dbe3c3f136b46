#include "jit/emit/extended_counters.h"

#include <llvm/IR/IRBuilder.h>

#include <vector>

#include "jit/emit/entry_facts.h"
#include "jit/emit/loop_shape.h"

namespace tracelift::jit {
namespace {

llvm::CastInst* ExtensionOf(llvm::Value* value) {
  const bool extends = llvm::isa<llvm::SExtInst>(value) || llvm::isa<llvm::ZExtInst>(value);
  return extends ? llvm::cast<llvm::CastInst>(value) : nullptr;
}

// Extended like `extension` for sure.
bool IsExtended(llvm::Value* value, const llvm::CastInst& extension) {
  const unsigned bits = extension.getSrcTy()->getIntegerBitWidth();
  if (const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(value)) {
    return llvm::isa<llvm::SExtInst>(extension) ? constant->getValue().isSignedIntN(bits)
                                                : constant->getValue().isIntN(bits);
  }
  const llvm::CastInst* other = ExtensionOf(value);
  return other && other->getOpcode() == extension.getOpcode() && other->getSrcTy() == extension.getSrcTy();
}

bool Expose(llvm::PHINode& phi, llvm::Loop& loop, bool may_rely, llvm::ScalarEvolution& evolution) {
  llvm::BasicBlock *preheader = loop.getLoopPreheader(), *latch = loop.getLoopLatch();
  if (!preheader || !latch || !phi.getType()->isIntegerTy() || IsRecurrence(phi, &loop, evolution)) return false;
  llvm::CastInst* next = ExtensionOf(phi.getIncomingValueForBlock(latch));
  if (!next || !loop.contains(next)) return false;
  llvm::Value* start = phi.getIncomingValueForBlock(preheader);
  const bool proven = IsExtended(start, *next);
  if (!proven && !may_rely) return false;

  llvm::IRBuilder<> builder(preheader->getTerminator());
  llvm::Value* narrow_start = builder.CreateTrunc(start, next->getSrcTy());
  auto* narrow = llvm::PHINode::Create(next->getSrcTy(), 2, phi.getName() + ".narrow", phi.getIterator());
  narrow->addIncoming(narrow_start, preheader);
  narrow->addIncoming(next->getOperand(0), latch);
  llvm::BasicBlock* header = loop.getHeader();
  auto* extended =
      llvm::CastInst::Create(next->getOpcode(), narrow, phi.getType(), "extended", header->getFirstInsertionPt());
  phi.replaceAllUsesWith(extended);
  evolution.forgetTopmostLoop(&loop);
  if (!IsRecurrence(*narrow, &loop, evolution)) {
    extended->replaceAllUsesWith(&phi);
    evolution.forgetTopmostLoop(&loop);
    extended->eraseFromParent();
    narrow->eraseFromParent();
    if (auto* unused = llvm::dyn_cast<llvm::Instruction>(narrow_start); unused && unused->use_empty())
      unused->eraseFromParent();
    return false;
  }
  if (!proven) {
    llvm::Value* whole = builder.CreateCast(next->getOpcode(), narrow_start, phi.getType());
    RelyOn(builder.CreateICmpEQ(start, whole), preheader->getTerminator());
  }
  phi.eraseFromParent();
  return true;
}

}  // namespace

void ExposeExtendedCounters(llvm::Loop& region, llvm::ScalarEvolution& evolution) {
  for (llvm::Loop* loop : region.getLoopsInPreorder()) {
    std::vector<llvm::PHINode*> phis;
    for (llvm::PHINode& phi : loop->getHeader()->phis()) phis.push_back(&phi);
    for (llvm::PHINode* phi : phis) Expose(*phi, *loop, loop == &region, evolution);
  }
}

}  // namespace tracelift::jit

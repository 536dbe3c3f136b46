#include "jit/emit/expand_fills.h"

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>

#include <vector>

#include "jit/footprint.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kFewestElements = 64;

// Of the floats that the nest stores.
uint64_t ElementBytes(llvm::Loop& region) {
  uint64_t widest = 0;
  for (llvm::BasicBlock* block : region.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      const auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
      if (!store || !store->getValueOperand()->getType()->isFloatingPointTy()) continue;
      widest = std::max<uint64_t>(widest, store->getValueOperand()->getType()->getPrimitiveSizeInBits() / 8);
    }
  }
  return widest;
}

void Expand(llvm::MemSetInst& fill, uint64_t elements, uint64_t bytes) {
  llvm::BasicBlock* before = fill.getParent();
  llvm::BasicBlock* after = before->splitBasicBlock(fill.getIterator());
  llvm::BasicBlock* body = llvm::BasicBlock::Create(before->getContext(), "fill", before->getParent(), after);
  before->getTerminator()->setSuccessor(0, body);
  llvm::IRBuilder<> builder(body);
  builder.SetCurrentDebugLocation(fill.getDebugLoc());
  llvm::PHINode* index = builder.CreatePHI(builder.getInt64Ty(), 2);
  const auto* byte = llvm::cast<llvm::ConstantInt>(fill.getValue());
  llvm::Value* value = builder.getInt(llvm::APInt::getSplat(static_cast<unsigned>(8 * bytes), byte->getValue()));
  llvm::Value* offset = builder.CreateMul(index, builder.getInt64(bytes));
  builder.CreateAlignedStore(value, builder.CreateGEP(builder.getInt8Ty(), fill.getRawDest(), offset), llvm::Align(1));
  llvm::Value* next = builder.CreateAdd(index, builder.getInt64(1), "", /*HasNUW=*/true, /*HasNSW=*/true);
  index->addIncoming(builder.getInt64(0), before);
  index->addIncoming(next, body);
  builder.CreateCondBr(builder.CreateICmpEQ(next, builder.getInt64(elements)), after, body);
  fill.eraseFromParent();
}

}  // namespace

bool ExpandFills(llvm::Loop& region) {
  const uint64_t bytes = ElementBytes(region);
  if (bytes == 0 || region.isInnermost()) return false;
  std::vector<llvm::MemSetInst*> fills;
  for (llvm::BasicBlock* block : region.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      auto* fill = llvm::dyn_cast<llvm::MemSetInst>(&instruction);
      const auto* length = fill ? llvm::dyn_cast<llvm::ConstantInt>(fill->getLength()) : nullptr;
      if (!length || !llvm::isa<llvm::ConstantInt>(fill->getValue()) || fill->isVolatile()) continue;
      if (length->getZExtValue() % bytes == 0 && length->getZExtValue() / bytes >= kFewestElements)
        fills.push_back(fill);
    }
  }
  if (fills.empty() || region.getLoopsInPreorder().size() + fills.size() > kMaxLoops) return false;
  for (llvm::MemSetInst* fill : fills) {
    Expand(*fill, llvm::cast<llvm::ConstantInt>(fill->getLength())->getZExtValue() / bytes, bytes);
  }
  return true;
}

}  // namespace tracelift::jit

#include "jit/emit/narrow_phis.h"

#include <llvm/IR/Function.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/PatternMatch.h>

#include <vector>

namespace tracelift::jit {
namespace {

using llvm::Value;
namespace pattern = llvm::PatternMatch;

constexpr uint64_t kLowHalf = 0xffffffffu;

// Users of `phi` that look at its low 32 bits only: trunc to i32 or a mask.
std::vector<llvm::Instruction*> LowReaders(llvm::PHINode& phi) {
  std::vector<llvm::Instruction*> readers;
  for (llvm::User* user : phi.users()) {
    auto* instruction = llvm::cast<llvm::Instruction>(user);
    const bool truncates = llvm::isa<llvm::TruncInst>(instruction) && instruction->getType()->getIntegerBitWidth() <= 32;
    const bool masks = pattern::match(instruction, pattern::m_And(pattern::m_Specific(&phi), pattern::m_SpecificInt(kLowHalf)));
    if (truncates || masks) readers.push_back(instruction);
  }
  return readers;
}

bool ComesFromZeroExtension(const llvm::PHINode& phi) {
  for (const Value* value : phi.incoming_values()) {
    if (const auto* extension = llvm::dyn_cast<llvm::ZExtInst>(value)) {
      if (extension->getSrcTy()->getIntegerBitWidth() <= 32) return true;
    }
    if (pattern::match(value, pattern::m_And(pattern::m_Value(), pattern::m_SpecificInt(kLowHalf)))) return true;
  }
  return false;
}

void Narrow(llvm::PHINode& phi, const std::vector<llvm::Instruction*>& readers) {
  llvm::Type* narrow_type = llvm::Type::getInt32Ty(phi.getContext());
  auto* narrow = llvm::PHINode::Create(narrow_type, phi.getNumIncomingValues(), phi.getName() + ".w", phi.getIterator());
  narrow->setDebugLoc(phi.getDebugLoc());
  for (unsigned i = 0; i < phi.getNumIncomingValues(); ++i) {
    llvm::BasicBlock* from = phi.getIncomingBlock(i);
    llvm::IRBuilder<> builder(from->getTerminator());
    Value* low = nullptr;
    if (auto* extension = llvm::dyn_cast<llvm::ZExtInst>(phi.getIncomingValue(i));
        extension && extension->getSrcTy() == narrow_type) {
      low = extension->getOperand(0);
    } else {
      low = builder.CreateTrunc(phi.getIncomingValue(i), narrow_type);
    }
    narrow->addIncoming(low, from);
  }
  for (llvm::Instruction* reader : readers) {
    llvm::IRBuilder<> builder(reader->getParent(), reader->getParent()->getFirstInsertionPt());
    if (!llvm::isa<llvm::PHINode>(reader)) builder.SetInsertPoint(reader);
    Value* value = llvm::isa<llvm::TruncInst>(reader)
                       ? builder.CreateTrunc(narrow, reader->getType())
                       : builder.CreateZExt(narrow, reader->getType());
    reader->replaceAllUsesWith(value);
    reader->eraseFromParent();
  }
}

}  // namespace

bool NarrowPhis(llvm::Function& function) {
  bool changed = false;
  for (llvm::BasicBlock& block : function) {
    std::vector<llvm::PHINode*> phis;
    for (llvm::PHINode& phi : block.phis()) phis.push_back(&phi);
    for (llvm::PHINode* phi : phis) {
      if (!phi->getType()->isIntegerTy(64) || !ComesFromZeroExtension(*phi)) continue;
      const std::vector<llvm::Instruction*> readers = LowReaders(*phi);
      if (readers.empty()) continue;
      Narrow(*phi, readers);
      changed = true;
    }
  }
  return changed;
}

}  // namespace tracelift::jit

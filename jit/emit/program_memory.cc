#include "jit/emit/program_memory.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>

namespace tracelift::jit {

bool IsProgramMemory(const llvm::Value* value) {
  const auto* load = llvm::dyn_cast<llvm::LoadInst>(value);
  return load && load->isVolatile() && load->getType()->isPointerTy() &&
         llvm::isa<llvm::AllocaInst>(load->getPointerOperand());
}

llvm::Value* ProgramMemory(llvm::Function& function) {
  for (llvm::Instruction& instruction : llvm::instructions(function)) {
    if (IsProgramMemory(&instruction)) return &instruction;
  }
  return nullptr;
}

const llvm::SCEV* AddressOf(llvm::Value* pointer, llvm::ScalarEvolution& evolution) {
  const llvm::SCEV* address = evolution.getSCEV(pointer);
  const llvm::SCEV* base = evolution.getPointerBase(address);
  const auto* value = llvm::dyn_cast<llvm::SCEVUnknown>(base);
  return value && IsProgramMemory(value->getValue()) ? evolution.getMinusSCEV(address, base) : nullptr;
}

}  // namespace tracelift::jit

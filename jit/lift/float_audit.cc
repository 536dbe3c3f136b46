#include "jit/lift/float_audit.h"

#include <llvm/IR/InstIterator.h>

#include "jit/lift/float_calls.h"

namespace tracelift::jit {
namespace {

constexpr char kUsesFloats[] = "tl-uses-floats";

}  // namespace

bool RaisesFloatExceptions(const Instruction& instruction) {
  if (!instruction.valid) return false;
  switch (instruction.info.meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE2:
    case ZYDIS_EXCEPTION_CLASS_SSE3:
    case ZYDIS_EXCEPTION_CLASS_AVX2:
    case ZYDIS_EXCEPTION_CLASS_AVX3:
    case ZYDIS_EXCEPTION_CLASS_E2:
    case ZYDIS_EXCEPTION_CLASS_E2NF:
    case ZYDIS_EXCEPTION_CLASS_E3:
    case ZYDIS_EXCEPTION_CLASS_E3NF: return true;
    default: return false;
  }
}

const llvm::Instruction* FirstOfDefaultEnvironment(const llvm::Function& function) {
  for (const llvm::Instruction& instruction : llvm::instructions(function)) {
    if (!IsFreeOfFloatControl(instruction) && !IsFloatCall(&instruction)) return &instruction;
  }
  return nullptr;
}

void MarkFloatUse(llvm::Function& function) { function.addFnAttr(kUsesFloats); }

bool DependsOnFloatEnvironment(const llvm::Function& function) {
  if (function.hasFnAttribute(kUsesFloats)) return true;
  return llvm::any_of(llvm::instructions(function), [](const llvm::Instruction& instruction) {
    return IsFloatCall(&instruction) || !IsFreeOfFloatControl(instruction);
  });
}

}  // namespace tracelift::jit

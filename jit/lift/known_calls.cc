// Calls of functions whose meaning is known. Registers that the callee may change keep their values here: by the ABI the
// program does not look at them.

#include "jit/lift/translator.h"

namespace tracelift::jit {

void Translator::TranslateKnownCall() {
  const auto pointer = [this](Gpr gpr) {
    return ir_.CreateGEP(ir_.getInt8Ty(), memory_base_, ReadWhole(gpr, 64));
  };
  Value* destination = pointer(kRdi);
  Value* bytes = ReadWhole(kRdx, 64);
  if (at_->callee == KnownCallee::kMemset) {
    ir_.CreateMemSet(destination, ReadWhole(kRsi, 8), bytes, llvm::MaybeAlign(1));
  } else {
    ir_.CreateMemMove(destination, llvm::MaybeAlign(1), pointer(kRsi), llvm::MaybeAlign(1), bytes);
  }
  WriteWhole(kRax, ReadWhole(kRdi, 64));
}

}  // namespace tracelift::jit

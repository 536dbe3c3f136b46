// Calls of functions whose meaning is known. Registers that the callee may change keep their values here: by the ABI the
// program does not look at them.

#include "jit/lift/translator.h"
#include "jit/vector_math.h"

namespace tracelift::jit {

bool Translator::TranslateKnownCall() {
  if (const MathFunction* function = MathFunctionOf(at_->callee)) {
    if (!ir_.getFastMathFlags().allowReassoc()) return false;
    Type* type = FloatType(function->is_float ? 32 : 64);
    llvm::SmallVector<Value*, 2> arguments;
    for (int i = 0; i < function->arguments; ++i) arguments.push_back(ReadPlace(VectorPlace(i), 0, type));
    WritePlace(VectorPlace(0), 0, floats_.Library(function->operation, arguments));
    return true;
  }
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
  return true;
}

}  // namespace tracelift::jit

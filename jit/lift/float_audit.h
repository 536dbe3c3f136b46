// Does lifted code depend on the float environment, and was it lifted for the right one? Private to jit/.
//
// Two views that must agree: the machine's, by the class of exceptions that an instruction can raise, and that of the IR
// made of it. An instruction family that forgets about MXCSR is caught by one of them, and the loop rejected.
#pragma once

#include <llvm/IR/Function.h>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

/// Whether `instruction` can raise float exceptions (Intel SDM vol. 2, 2.5 to 2.8: types 2 and 3): then its result
/// depends on MXCSR, or it traps when exceptions are not masked. False for those that only move or convert exactly.
bool RaisesFloatExceptions(const Instruction& instruction);

/// The first instruction of lifted code that means the default environment, whatever MXCSR says; null when there is none.
const llvm::Instruction* FirstOfDefaultEnvironment(const llvm::Function& function);

/// Marks lifted code whose machine code can raise float exceptions.
void MarkFloatUse(llvm::Function& function);
/// Whether lifted code depends on MXCSR: marked, or by what its IR does.
bool DependsOnFloatEnvironment(const llvm::Function& function);

}  // namespace tracelift::jit

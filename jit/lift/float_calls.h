// Float operations as calls, on their way from lifted code to machine code; float_operations.h tells why they are calls.
// Private to jit/.
//
// A float call is `tl.float.OPERATION.RESULT[.ARGUMENT...]`, e.g. tl.float.add.f64 or tl.float.cmp-olt.i1.f64: a pure
// function of its arguments under the MXCSR of the thread. Its vector forms, tl.float.add.f64.v8, do so many at once.
// The order is: lift; OfferVectorForms; LLVM's pipeline; LowerFloatCalls; code generation.
#pragma once

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstrTypes.h>
#include <llvm/IR/Module.h>

#include "jit/float_environment.h"

namespace tracelift::jit {

inline constexpr char kFloatCallPrefix[] = "tl.float.";
inline constexpr char kCompareOperation[] = "cmp-";  // followed by the predicate's name
inline constexpr char kLibraryOperation[] = "libm-";  // by libm's name for double

/// All arguments are of one type.
llvm::Value* CreateFloatCall(llvm::IRBuilder<>& ir, const llvm::Twine& operation, llvm::Type* result,
                             llvm::ArrayRef<llvm::Value*> arguments);

bool IsFloatCall(const llvm::Value* value);

/// What a comparison yields for constants under `control`; null when `call` is none.
llvm::Constant* FoldFloatCompare(const llvm::CallInst& call, llvm::ArrayRef<llvm::Constant*> arguments,
                                 FloatControl control);

/// Whether `instruction` only moves floats or does not know them: its result is the same under any MXCSR.
bool IsFreeOfFloatControl(const llvm::Instruction& instruction);

/// Whether there are vector instructions for `call`, a float call of scalars.
bool HasVectorForm(const llvm::CallInst& call);
/// `call`, which HasVectorForm, for vectors of `lanes` of its arguments.
llvm::Value* CreateVectorCall(llvm::IRBuilder<>& ir, const llvm::CallInst& call, llvm::ArrayRef<llvm::Value*> arguments, int lanes);

/// Declares the vector forms of all float calls, so that the vectorisers know them.
void OfferVectorForms(llvm::Module& module);

/// Turns all float calls into operations whose rules MXCSR sets at run time. Only code generation may follow.
/// `widest_bits`: of a vector register, 128, 256 or 512.
void LowerFloatCalls(llvm::Module& module, int widest_bits);

}  // namespace tracelift::jit

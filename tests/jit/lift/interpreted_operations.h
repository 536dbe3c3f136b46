// What LLVM's interpreter cannot do, written out on its values: intrinsics, half floats, 64-bit integers to float.
// Meanings as the LLVM Language Reference has them, those of x86 intrinsics as the Intel SDM. Includes LLVM.
#pragma once

#include <llvm/ADT/ArrayRef.h>
#include <llvm/ExecutionEngine/GenericValue.h>
#include <llvm/IR/DerivedTypes.h>
#include <llvm/IR/Intrinsics.h>

namespace tracelift::jit {

/// An intrinsic by its number, or one of these.
enum Operation : uint32_t {
  kSignedToFloat = llvm::Intrinsic::num_intrinsics,
  kUnsignedToFloat,
  kHalfToFloat,  // from the bits
  kFloatToHalf,  // to the bits
};

/// True when RunOperation knows `operation`.
bool IsOperation(uint32_t operation);

/// Called by the interpreter: the first argument is the operation's number, the others are its own. Vectors lane by
/// lane, scalar arguments among them for every lane.
llvm::GenericValue RunOperation(llvm::FunctionType* type, llvm::ArrayRef<llvm::GenericValue> arguments);

}  // namespace tracelift::jit

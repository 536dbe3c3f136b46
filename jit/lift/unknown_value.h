// Values that lifted code must not depend on: what a pass finds in memory that it has not written, the exception flags of
// MXCSR. When one is left after simplification, the loop cannot be lifted.
#pragma once

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

namespace tracelift::jit {

/// Names of functions of a number whose calls stand for such values, one name for each type.
inline constexpr char kUnknownMarker[] = "tl.unknown";             // i64
inline constexpr char kUnknownFlagsMarker[] = "tl.unknown.flags";  // exception flags

/// Equal calls are equal values: `number` tells those of one marker apart.
llvm::Value* UnknownValue(llvm::IRBuilder<>& builder, const char* marker, llvm::Type* type, uint64_t number);

/// After simplification: something depends on such a value.
bool UsesUnknownValues(const llvm::Function& function);

}  // namespace tracelift::jit

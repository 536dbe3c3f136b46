// Memory accesses under a mask, which are calls of LLVM's intrinsics: at most all of their elements are touched, and when
// elements are pressed together, not in their own places. Every pass over the memory accesses of lifted code must know
// them beside loads and stores. Private to jit/emit.
#pragma once

#include <llvm/IR/IntrinsicInst.h>

#include <optional>

namespace tracelift::jit {

struct MaskedAccess {
  llvm::Use* pointer = nullptr;
  llvm::Type* type = nullptr;  // with all elements
  bool write = false;
};

inline std::optional<MaskedAccess> MaskedAccessOf(llvm::Instruction& instruction) {
  auto* intrinsic = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction);
  if (!intrinsic) return std::nullopt;
  switch (intrinsic->getIntrinsicID()) {
    case llvm::Intrinsic::masked_load:
    case llvm::Intrinsic::masked_expandload:
      return MaskedAccess{&intrinsic->getArgOperandUse(0), intrinsic->getType(), false};
    case llvm::Intrinsic::masked_store:
    case llvm::Intrinsic::masked_compressstore:
      return MaskedAccess{&intrinsic->getArgOperandUse(1), intrinsic->getArgOperand(0)->getType(), true};
    default:
      return std::nullopt;
  }
}

}  // namespace tracelift::jit

// Packed integer instructions without a legacy form.

#include "jit/lift/translator.h"

namespace tracelift::jit {

bool Translator::TranslateVexInteger() {
  switch (form_) {
    case ZYDIS_MNEMONIC_VPSLLVD: ShiftEach(32, llvm::Instruction::Shl); return true;
    case ZYDIS_MNEMONIC_VPSLLVQ: ShiftEach(64, llvm::Instruction::Shl); return true;
    case ZYDIS_MNEMONIC_VPSRLVD: ShiftEach(32, llvm::Instruction::LShr); return true;
    case ZYDIS_MNEMONIC_VPSRLVQ: ShiftEach(64, llvm::Instruction::LShr); return true;
    case ZYDIS_MNEMONIC_VPSRAVD: ShiftEach(32, llvm::Instruction::AShr); return true;
    default: return false;
  }
}

/// Each element by its own distance; distances of the width and more shift everything out.
void Translator::ShiftEach(int bits, Opcode opcode) {
  PackedBinary(bits, [this, bits, opcode](Value* value, Value* by) {
    const bool is_arithmetic = opcode == llvm::Instruction::AShr;
    const auto number = [&](int of) { return llvm::ConstantInt::get(by->getType(), static_cast<uint64_t>(of)); };
    Value* too_large = ir_.CreateICmpUGE(by, number(bits));
    Value* limit = number(is_arithmetic ? bits - 1 : 0);
    Value* shifted = ir_.CreateBinOp(opcode, value, ir_.CreateSelect(too_large, limit, by));
    return is_arithmetic ? shifted : ir_.CreateSelect(too_large, number(0), shifted);
  });
}

}  // namespace tracelift::jit

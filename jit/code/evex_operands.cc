#include "jit/code/evex_operands.h"

namespace tracelift::jit {
namespace {

int MaskOperandIndex(const Instruction& instruction) {
  for (int i = 0; i < instruction.info.operand_count_visible; ++i) {
    if (instruction.operands[i].encoding == ZYDIS_OPERAND_ENCODING_MASK) return i;
  }
  return -1;
}

}  // namespace

bool IsNoMask(const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_REGISTER && operand.encoding == ZYDIS_OPERAND_ENCODING_MASK &&
         operand.reg.value == ZYDIS_REGISTER_K0;
}

bool HasMaskOperand(const Instruction& instruction) { return MaskOperandIndex(instruction) >= 0; }

Instruction WithoutMaskOperand(const Instruction& instruction) {
  Instruction result = instruction;
  const int mask = MaskOperandIndex(instruction);
  if (mask < 0) return result;
  ZydisDecodedOperand* const end = result.operands + result.info.operand_count;
  std::copy(result.operands + mask + 1, end, result.operands + mask);
  --result.info.operand_count;
  --result.info.operand_count_visible;
  return result;
}

int MaskNumber(const ZydisDecodedInstruction& info) {
  return IsMasked(info) ? ZydisRegisterGetId(info.avx.mask.reg) : 0;
}

bool ZeroesMasked(const ZydisDecodedInstruction& info) {
  return info.avx.mask.mode == ZYDIS_MASK_MODE_ZEROING || info.avx.mask.mode == ZYDIS_MASK_MODE_CONTROL_ZEROING;
}

int BroadcastCount(const ZydisDecodedInstruction& info) {
  if (info.avx.broadcast.is_static) return 1;
  switch (info.avx.broadcast.mode) {
    case ZYDIS_BROADCAST_MODE_1_TO_2: return 2;
    case ZYDIS_BROADCAST_MODE_1_TO_4: return 4;
    case ZYDIS_BROADCAST_MODE_1_TO_8: return 8;
    case ZYDIS_BROADCAST_MODE_1_TO_16: return 16;
    default: return 1;
  }
}

}  // namespace tracelift::jit

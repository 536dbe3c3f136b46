#include "jit/code/vex_forms.h"

namespace tracelift::jit {

ZydisMnemonic LegacyForm(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
#define TL_VEX_FORM(name) \
  case ZYDIS_MNEMONIC_V##name: return ZYDIS_MNEMONIC_##name;
#include "jit/code/vex_forms.def"
#undef TL_VEX_FORM
#define TL_EVEX_FORM(name, legacy) \
  case ZYDIS_MNEMONIC_V##name: return ZYDIS_MNEMONIC_##legacy;
    TL_EVEX_FORM(MOVDQA32, MOVDQA) TL_EVEX_FORM(MOVDQA64, MOVDQA)
    TL_EVEX_FORM(MOVDQU8, MOVDQU) TL_EVEX_FORM(MOVDQU16, MOVDQU)
    TL_EVEX_FORM(MOVDQU32, MOVDQU) TL_EVEX_FORM(MOVDQU64, MOVDQU)
    TL_EVEX_FORM(PANDD, PAND) TL_EVEX_FORM(PANDQ, PAND) TL_EVEX_FORM(PANDND, PANDN) TL_EVEX_FORM(PANDNQ, PANDN)
    TL_EVEX_FORM(PORD, POR) TL_EVEX_FORM(PORQ, POR) TL_EVEX_FORM(PXORD, PXOR) TL_EVEX_FORM(PXORQ, PXOR)
#undef TL_EVEX_FORM
    default: return mnemonic;
  }
}

bool IsFusedMultiplyAdd(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
#define TL_FUSED(name, type)                \
  case ZYDIS_MNEMONIC_VF##name##132##type:  \
  case ZYDIS_MNEMONIC_VF##name##213##type:  \
  case ZYDIS_MNEMONIC_VF##name##231##type:
    TL_FUSED(MADD, PS) TL_FUSED(MADD, PD) TL_FUSED(MADD, SS) TL_FUSED(MADD, SD)
    TL_FUSED(MSUB, PS) TL_FUSED(MSUB, PD) TL_FUSED(MSUB, SS) TL_FUSED(MSUB, SD)
    TL_FUSED(NMADD, PS) TL_FUSED(NMADD, PD) TL_FUSED(NMADD, SS) TL_FUSED(NMADD, SD)
    TL_FUSED(NMSUB, PS) TL_FUSED(NMSUB, PD) TL_FUSED(NMSUB, SS) TL_FUSED(NMSUB, SD)
    TL_FUSED(MADDSUB, PS) TL_FUSED(MADDSUB, PD) TL_FUSED(MSUBADD, PS) TL_FUSED(MSUBADD, PD)
#undef TL_FUSED
      return true;
    default: return false;
  }
}

int VectorBits(const ZydisDecodedOperand& operand) {
  if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) return 0;
  switch (ZydisRegisterGetClass(operand.reg.value)) {
    case ZYDIS_REGCLASS_XMM: return 128;
    case ZYDIS_REGCLASS_YMM: return 256;
    case ZYDIS_REGCLASS_ZMM: return 512;
    default: return 0;
  }
}

bool HasOwnDestination(const ZydisDecodedInstruction& info, const ZydisDecodedOperand* operands) {
  return ClearsUpperBits(info) && info.operand_count_visible > 2 && operands[2].type != ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

}  // namespace tracelift::jit

// The VEX encodings (AVX, AVX2) repeat the legacy ones with a destination of their own, in 128 or 256 bits: VADDPD a, b,
// c is ADDPD with a = b + c, and in 256 bits does so in each half. What holds for one holds for the other, so both are
// described once, under the legacy name. What differs: VEX clears the destination above the operand's width, and scalars
// take the rest of it from b.
//
// Source: Intel SDM volume 2, section 2.3 (VEX); each instruction's page gives both forms. Private to jit/.
#pragma once

#include <Zydis/Zydis.h>

namespace tracelift::jit {

/// ADDPD for VADDPD; instructions without a legacy form, and legacy ones, are their own. VPANDD and VPANDQ differ from
/// VPAND in what their masks count, and have its legacy form.
ZydisMnemonic LegacyForm(ZydisMnemonic mnemonic);

/// VFMADD132PS and its relatives: three operands, the first also the destination; of scalars only the lowest element
/// changes, like a legacy scalar's.
bool IsFusedMultiplyAdd(ZydisMnemonic mnemonic);

/// Bits of a vector register operand: 128, 256 or 512; 0 when it is none.
int VectorBits(const ZydisDecodedOperand& operand);

/// Clears what lies above the destination's operand size, up to the full register.
inline bool ClearsUpperBits(const ZydisDecodedInstruction& info) {
  return info.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY;
}

/// VEX forms `op a, b, c`: the first source is not the destination.
bool HasOwnDestination(const ZydisDecodedInstruction& info, const ZydisDecodedOperand* operands);

}  // namespace tracelift::jit

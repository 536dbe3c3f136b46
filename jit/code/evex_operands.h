// The operands of EVEX instructions (AVX-512). They are those of VEX with a mask register put in after the first one:
// VADDPD a {k}, b, c. Without it they are described like the others (vex_forms.h). What EVEX adds is found here: the
// mask, and memory operands of one element that stands for all (broadcast).
//
// Source: Intel SDM volume 2, section 2.7 (EVEX). Private to jit/.
#pragma once

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

inline bool IsEvex(const ZydisDecodedInstruction& info) { return info.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX; }

/// Elements whose mask bit is clear are left alone or cleared, or take the other source.
inline bool IsMasked(const ZydisDecodedInstruction& info) { return info.avx.mask.mode > ZYDIS_MASK_MODE_DISABLED; }

/// The operand that says "no mask", as k0 does in its place.
bool IsNoMask(const ZydisDecodedOperand& operand);

bool HasMaskOperand(const Instruction& instruction);
/// The same without the mask operand: the others close up. What IsMasked and the like say stays.
Instruction WithoutMaskOperand(const Instruction& instruction);

/// Number of the mask register; 0 when not masked.
int MaskNumber(const ZydisDecodedInstruction& info);
/// Elements of clear mask bits become zero instead of staying.
bool ZeroesMasked(const ZydisDecodedInstruction& info);

/// How often a memory operand of one element is repeated; 1: it is a whole one.
int BroadcastCount(const ZydisDecodedInstruction& info);

}  // namespace tracelift::jit

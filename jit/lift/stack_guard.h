// The number at fs:[0x28], which compilers store in stack frames (-fstack-protector) to see whether they were overwritten.
// The C library gives all threads of a process the same one, and it never changes, so it can be read ahead of a loop, by
// any thread. Private to jit/lift.
#pragma once

#include <Zydis/Zydis.h>

namespace tracelift::jit {

/// The operand reads it.
inline bool IsStackGuard(const ZydisDecodedOperand& operand) {
  const ZydisDecodedOperandMem& mem = operand.mem;
  return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && mem.type == ZYDIS_MEMOP_TYPE_MEM &&
         mem.segment == ZYDIS_REGISTER_FS && mem.base == ZYDIS_REGISTER_NONE && mem.index == ZYDIS_REGISTER_NONE &&
         mem.disp.value == 0x28 && operand.size == 64 && operand.actions == ZYDIS_OPERAND_ACTION_READ;
}

}  // namespace tracelift::jit

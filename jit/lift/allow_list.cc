#include "jit/lift/allow_list.h"

#include "jit/lift/lifter.h"

namespace tracelift::jit {
namespace {

bool IsLiftedRegister(ZydisRegister reg) {
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
    case ZYDIS_REGCLASS_XMM:
      return true;
    default:
      return false;  // MMX, x87, segment and control registers
  }
}

bool IsLiftedMemory(const ZydisDecodedInstruction& info, const ZydisDecodedOperandMem& mem) {
  if (mem.type != ZYDIS_MEMOP_TYPE_MEM && mem.type != ZYDIS_MEMOP_TYPE_AGEN) return false;
  if (info.address_width != 64) return false;
  if (mem.segment == ZYDIS_REGISTER_FS || mem.segment == ZYDIS_REGISTER_GS) return false;
  const bool base_ok = mem.base == ZYDIS_REGISTER_NONE || mem.base == ZYDIS_REGISTER_RIP ||
                       ZydisRegisterGetClass(mem.base) == ZYDIS_REGCLASS_GPR64;
  return base_ok && (mem.index == ZYDIS_REGISTER_NONE || ZydisRegisterGetClass(mem.index) == ZYDIS_REGCLASS_GPR64);
}

bool HasMemoryOperand(const Instruction& instruction) {
  for (int i = 0; i < instruction.info.operand_count_visible; ++i) {
    if (instruction.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) return true;
  }
  return false;
}

// F3 0F BC is TZCNT on processors that know it, and BSF, with other results, on older ones. Same for LZCNT and BSR.
bool ProcessorRuns(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_TZCNT: return __builtin_cpu_supports("bmi") != 0;
    case ZYDIS_MNEMONIC_LZCNT: return __builtin_cpu_supports("lzcnt") != 0;
    default: return true;
  }
}

}  // namespace

InstructionFamily FamilyOf(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
#define TL_INSTRUCTION(family, name) \
  case ZYDIS_MNEMONIC_##name:        \
    return InstructionFamily::k##family;
#include "jit/lift/allow_list.def"
#undef TL_INSTRUCTION
    default: return InstructionFamily::kNone;
  }
}

bool IsSupported(const Instruction& instruction) {
  if (!instruction.valid) return false;
  if (instruction.callee != KnownCallee::kNone) return true;
  const ZydisDecodedInstruction& info = instruction.info;
  if (FamilyOf(info.mnemonic) == InstructionFamily::kNone || !ProcessorRuns(info.mnemonic)) return false;
  if (info.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || (info.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0) return false;
  if (info.meta.category == ZYDIS_CATEGORY_STRINGOP) return false;  // movsd and cmpsd are also string instructions
  if (info.mnemonic == ZYDIS_MNEMONIC_NOP || info.meta.category == ZYDIS_CATEGORY_PREFETCH) return true;

  for (int i = 0; i < info.operand_count_visible; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    switch (operand.type) {
      case ZYDIS_OPERAND_TYPE_REGISTER:
        if (!IsLiftedRegister(operand.reg.value)) return false;
        break;
      case ZYDIS_OPERAND_TYPE_MEMORY:
        if (!IsLiftedMemory(info, operand.mem)) return false;
        break;
      case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        break;
      default:
        return false;
    }
  }
  switch (info.mnemonic) {
    case ZYDIS_MNEMONIC_XCHG:  // locks the bus
      return !HasMemoryOperand(instruction);
    case ZYDIS_MNEMONIC_BT:  // with a bit number in a register they reach beyond the operand
    case ZYDIS_MNEMONIC_BTC:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTS:
      return !HasMemoryOperand(instruction) || instruction.operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    case ZYDIS_MNEMONIC_SHLD:  // with 16-bit operands and counts above 16 the result is undefined
    case ZYDIS_MNEMONIC_SHRD:
    case ZYDIS_MNEMONIC_BSWAP:  // undefined for 16 bits
      return instruction.operands[0].size >= 32;
    case ZYDIS_MNEMONIC_JMP:  // through registers or memory: successors unknown
      return instruction.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    default:
      return true;
  }
}

}  // namespace tracelift::jit

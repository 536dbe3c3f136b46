#include "jit/lift/allow_list.h"

#include <string_view>

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"
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
    case ZYDIS_REGCLASS_YMM:
    case ZYDIS_REGCLASS_ZMM:
    case ZYDIS_REGCLASS_MASK:
      return true;
    default:
      return false;  // MMX, x87, segment and control registers
  }
}

/// The manuals do not say which of several different segment prefixes counts.
bool HasOneSegmentAtMost(const ZydisDecodedInstruction& info) {
  uint8_t segment = 0;
  for (int i = 0; i < info.raw.prefix_count; ++i) {
    switch (const uint8_t prefix = info.raw.prefixes[i].value) {
      case 0x26:
      case 0x2e:
      case 0x36:
      case 0x3e:
      case 0x64:
      case 0x65:
        if (segment != 0 && segment != prefix) return false;
        segment = prefix;
        break;
      default: break;
    }
  }
  return true;
}

bool IsLiftedMemory(const ZydisDecodedInstruction& info, const ZydisDecodedOperandMem& mem) {
  if (mem.type != ZYDIS_MEMOP_TYPE_MEM && mem.type != ZYDIS_MEMOP_TYPE_AGEN && mem.type != ZYDIS_MEMOP_TYPE_VSIB) return false;
  if (info.address_width != 64 || !HasOneSegmentAtMost(info)) return false;
  if (mem.segment == ZYDIS_REGISTER_GS) return false;
  const bool base_ok = mem.base == ZYDIS_REGISTER_NONE || mem.base == ZYDIS_REGISTER_RIP ||
                       ZydisRegisterGetClass(mem.base) == ZYDIS_REGCLASS_GPR64;
  if (mem.type == ZYDIS_MEMOP_TYPE_VSIB) return base_ok;
  return base_ok && (mem.index == ZYDIS_REGISTER_NONE || ZydisRegisterGetClass(mem.index) == ZYDIS_REGCLASS_GPR64);
}

bool HasMemoryOperand(const Instruction& instruction) {
  for (int i = 0; i < instruction.info.operand_count_visible; ++i) {
    if (instruction.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) return true;
  }
  return false;
}

/// AVX-512 comes in parts; F, BW, DQ, CD and VL are taken together.
bool ProcessorRunsAvx512(ZydisISASet set) {
  static const bool has_base = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd") &&
                               __builtin_cpu_supports("avx512vl");
  if (!has_base) return false;
  const std::string_view name = ZydisISASetGetString(set);
  for (const std::string_view part : {"AVX512F_", "AVX512BW_", "AVX512DQ_", "AVX512CD_"}) {
    if (name.starts_with(part)) return true;
  }
  if (name.starts_with("AVX512_VBMI2_")) return __builtin_cpu_supports("avx512vbmi2") != 0;
  if (name.starts_with("AVX512_VBMI_")) return __builtin_cpu_supports("avx512vbmi") != 0;
  if (name.starts_with("AVX512_VNNI_")) return __builtin_cpu_supports("avx512vnni") != 0;
  if (name.starts_with("AVX512_IFMA_")) return __builtin_cpu_supports("avx512ifma") != 0;
  if (name.starts_with("AVX512_BITALG_")) return __builtin_cpu_supports("avx512bitalg") != 0;
  if (name.starts_with("AVX512_VPOPCNTDQ_")) return __builtin_cpu_supports("avx512vpopcntdq") != 0;
  return false;
}

// F3 0F BC is TZCNT on processors that know it, and BSF, with other results, on older ones. Same for LZCNT and BSR.
// PDEP, PEXT and CRC32 are lifted to themselves. __builtin_cpu_supports also asks whether the operating system keeps the registers.
bool ProcessorRuns(const ZydisDecodedInstruction& info) {
  switch (info.meta.isa_ext) {
    case ZYDIS_ISA_EXT_AVX: return __builtin_cpu_supports("avx") != 0;
    case ZYDIS_ISA_EXT_AVX_VNNI: return __builtin_cpu_supports("avxvnni") != 0;
    case ZYDIS_ISA_EXT_AVX512EVEX:
    case ZYDIS_ISA_EXT_AVX512VEX: return ProcessorRunsAvx512(info.meta.isa_set);
    case ZYDIS_ISA_EXT_AVX2GATHER:
    case ZYDIS_ISA_EXT_AVX2: return __builtin_cpu_supports("avx2") != 0;
    case ZYDIS_ISA_EXT_FMA: return __builtin_cpu_supports("fma") != 0;
    case ZYDIS_ISA_EXT_F16C: return __builtin_cpu_supports("f16c") != 0;
    default: break;
  }
  switch (info.meta.isa_set) {
    case ZYDIS_ISA_SET_ADOX_ADCX: return __builtin_cpu_supports("adx") != 0;
    case ZYDIS_ISA_SET_BMI1: return __builtin_cpu_supports("bmi") != 0;
    case ZYDIS_ISA_SET_BMI2: return __builtin_cpu_supports("bmi2") != 0;
    case ZYDIS_ISA_SET_LAHF: return __builtin_cpu_supports("lahf_lm") != 0;
    case ZYDIS_ISA_SET_LZCNT: return __builtin_cpu_supports("lzcnt") != 0;
    case ZYDIS_ISA_SET_MOVBE: return __builtin_cpu_supports("movbe") != 0;
    case ZYDIS_ISA_SET_POPCNT: return __builtin_cpu_supports("popcnt") != 0;
    case ZYDIS_ISA_SET_SSE42: return __builtin_cpu_supports("sse4.2") != 0;
    default: return true;
  }
}

/// 0F 0D on a register: Intel's processors do nothing, AMD's raise an exception.
bool IsPrefetchOfRegister(const ZydisDecodedInstruction& info) {
  return info.mnemonic == ZYDIS_MNEMONIC_NOP && info.opcode_map == ZYDIS_OPCODE_MAP_0F && info.opcode == 0x0d;
}

/// The general purpose instructions with VEX encodings. Those of lzcnt, tzcnt and popcnt only ran on Knights Corner.
bool IsBitManipulation(const ZydisDecodedInstruction& info) {
  const bool has_legacy_form = info.mnemonic == ZYDIS_MNEMONIC_TZCNT;
  return !has_legacy_form && (info.meta.isa_set == ZYDIS_ISA_SET_BMI1 || info.meta.isa_set == ZYDIS_ISA_SET_BMI2);
}

bool AccessesMxcsr(const ZydisDecodedInstruction& info) {
  const ZydisMnemonic form = LegacyForm(info.mnemonic);
  return form == ZYDIS_MNEMONIC_LDMXCSR || form == ZYDIS_MNEMONIC_STMXCSR;
}

/// movs and stos with or without rep, lods without. With repne they do what no manual defines.
bool IsLiftedString(const Instruction& instruction) {
  const ZydisDecodedInstruction& info = instruction.info;
  bool repeats = false;
  for (int i = 0; i < info.raw.prefix_count; ++i) {
    repeats |= info.raw.prefixes[i].value == 0xf3;
    if (info.raw.prefixes[i].value == 0xf2) return false;
  }
  switch (info.mnemonic) {
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD:
    case ZYDIS_MNEMONIC_MOVSQ:
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ: break;
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
    case ZYDIS_MNEMONIC_LODSQ:
      if (repeats) return false;
      break;
    default: return false;
  }
  for (int i = 0; i < info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && !IsLiftedMemory(info, operand.mem)) return false;
  }
  return true;
}

}  // namespace

InstructionFamily FamilyOf(ZydisMnemonic mnemonic) {
  switch (LegacyForm(mnemonic)) {
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
  if (instruction.callee != KnownCallee::kNone || instruction.jumps_by_table || instruction.linkage != Linkage::kNone) return true;
  const ZydisDecodedInstruction& info = instruction.info;
  if (FamilyOf(info.mnemonic) == InstructionFamily::kNone || !ProcessorRuns(info)) return false;
  const bool is_vex = info.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
  if (!is_vex && !IsEvex(info) && info.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) return false;
  if (IsEvex(info) && FamilyOf(info.mnemonic) == InstructionFamily::kInteger) return false;
  const bool is_integer = FamilyOf(info.mnemonic) == InstructionFamily::kInteger;
  if (is_vex && is_integer && !IsBitManipulation(info) && !AccessesMxcsr(info)) return false;
  if ((info.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0) return false;
  if (info.meta.category == ZYDIS_CATEGORY_STRINGOP) return IsLiftedString(instruction);  // movsd is two instructions
  if (IsPrefetchOfRegister(info)) return false;
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
    case ZYDIS_MNEMONIC_SHLD:  // with 16-bit operands and counts above 16 the result is undefined
    case ZYDIS_MNEMONIC_SHRD:
      return instruction.operands[0].size >= 32 || (instruction.operands[2].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
                                                    (instruction.operands[2].imm.value.u & 31) < 16);
    case ZYDIS_MNEMONIC_BSWAP:  // undefined for 16 bits
      return instruction.operands[0].size >= 32;
    case ZYDIS_MNEMONIC_MOVSXD:  // to 16 bits: processors differ in what they read
      return instruction.operands[0].size >= 32;
    case ZYDIS_MNEMONIC_LOOP:  // may count in ecx
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
      return info.address_width == 64;
    case ZYDIS_MNEMONIC_VCVTPS2PH:  // to nearest only, by itself or as MXCSR has it
      return (instruction.operands[info.operand_count_visible - 1].imm.value.u & 7) == 0 ||
             (instruction.operands[info.operand_count_visible - 1].imm.value.u & 4) != 0;
    case ZYDIS_MNEMONIC_PUSH:
      return info.operand_width == 64;
    case ZYDIS_MNEMONIC_POP:  // into memory: its address may count from the new rsp
      return info.operand_width == 64 && instruction.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
             instruction.operands[0].reg.value != ZYDIS_REGISTER_RSP;
    case ZYDIS_MNEMONIC_LEAVE:
      return info.operand_width == 64;
    case ZYDIS_MNEMONIC_JMP:  // through registers or memory: successors unknown
      return instruction.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    default:
      return true;
  }
}

}  // namespace tracelift::jit

#include "jit/code/float_use.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

namespace tracelift::jit {
namespace {

bool HasRegisterOf(const Instruction& instruction, std::initializer_list<ZydisRegisterClass> classes) {
  for (int i = 0; i < instruction.info.operand_count_visible; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    for (ZydisRegisterClass wanted : classes) {
      if (ZydisRegisterGetClass(operand.reg.value) == wanted) return true;
    }
  }
  return false;
}

bool StartsWithAny(std::string_view text, std::initializer_list<std::string_view> starts) {
  return std::ranges::any_of(starts, [&](std::string_view start) { return text.starts_with(start); });
}

bool EndsWithAny(std::string_view text, std::initializer_list<std::string_view> ends) {
  return std::ranges::any_of(ends, [&](std::string_view end) { return text.ends_with(end); });
}

/// Packed instructions of the float domain that only move or combine bits.
bool MovesBits(std::string_view name) {
  return StartsWithAny(name, {"mov", "and", "or", "xor", "unpck", "shuf", "blend", "insert", "extract", "broadcast",
                              "gather", "scatter", "compress", "expand", "maskmov", "test"});
}

}  // namespace

// By name: Intel's mnemonics end in the kind of their operands (SDM volume 1, 10.4 and 11.4), and what begins with P,
// after the V of VEX and EVEX, works on integers or permutes.
FloatUse FloatUseOf(const Instruction& instruction) {
  if (!instruction.valid) return FloatUse::kNone;
  if (instruction.info.meta.isa_ext == ZYDIS_ISA_EXT_X87) return FloatUse::kScalar;
  if (!HasRegisterOf(instruction, {ZYDIS_REGCLASS_XMM, ZYDIS_REGCLASS_YMM, ZYDIS_REGCLASS_ZMM})) return FloatUse::kNone;
  std::string_view name = ZydisMnemonicGetString(instruction.info.mnemonic);
  if (name.starts_with('v')) name.remove_prefix(1);
  if (name.starts_with('p')) return FloatUse::kNone;
  if (name.starts_with("cvt")) {
    const bool is_scalar = std::ranges::any_of(std::initializer_list<std::string_view>{"ss", "sd", "sh", "si"},
                                               [&](std::string_view kind) { return name.contains(kind); });
    return is_scalar ? FloatUse::kScalar : FloatUse::kVector;
  }
  if (EndsWithAny(name, {"ss", "sd", "sh"})) return name.starts_with("broadcast") ? FloatUse::kNone : FloatUse::kScalar;
  if (EndsWithAny(name, {"ps", "pd", "ph"})) return MovesBits(name) ? FloatUse::kNone : FloatUse::kVector;
  return FloatUse::kNone;
}

std::string FormOf(const Instruction& instruction) {
  if (!instruction.valid) return Disassemble(instruction);
  const ZydisDecodedInstruction& info = instruction.info;
  std::string form = ZydisMnemonicGetString(info.mnemonic);
  if ((info.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0) form = "lock " + form;
  if ((info.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) != 0) form = "rep " + form;
  if ((info.attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0) form = "repne " + form;
  if (info.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX) form += " (EVEX)";
  if (HasRegisterOf(instruction, {ZYDIS_REGCLASS_MMX})) form += " (MMX)";
  if ((info.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)) != 0) form += " (thread-local)";
  if (info.address_width == 32) form += " (32-bit address)";
  return form;
}

}  // namespace tracelift::jit

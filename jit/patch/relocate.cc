#include "jit/patch/relocate.h"

#include <array>

namespace tracelift::jit {
namespace {

bool HasAttribute(const Instruction& instruction, ZydisInstructionAttributes attribute) {
  return (instruction.info.attributes & attribute) != 0;
}

bool IsRipRelative(const Instruction& instruction) {
  return HasAttribute(instruction, ZYDIS_ATTRIB_HAS_MODRM) && instruction.info.raw.modrm.mod == 0 &&
         instruction.info.raw.modrm.rm == 5;
}

bool HasRelativeImmediate(const Instruction& instruction) {
  return instruction.info.raw.imm[0].size != 0 && instruction.info.raw.imm[0].is_relative;
}

}  // namespace

int ConditionOf(const Instruction& instruction) {
  const ZydisDecodedInstruction& info = instruction.info;
  const bool near_form = info.opcode_map == ZYDIS_OPCODE_MAP_0F && (info.opcode & 0xf0) == 0x80;
  const bool short_form = info.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (info.opcode & 0xf0) == 0x70;
  if (info.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || (!near_form && !short_form)) return -1;
  return info.opcode & 0xf;
}

bool IsDirectJump(const Instruction& instruction) {
  const ZydisDecodedInstruction& info = instruction.info;
  if (!HasRelativeImmediate(instruction)) return false;
  if (ConditionOf(instruction) >= 0) return true;
  // loop, loope, loopne, jrcxz, jmp rel32, jmp rel8.
  return info.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
         ((info.opcode >= 0xe0 && info.opcode <= 0xe3) || info.opcode == 0xe9 || info.opcode == 0xeb);
}

uint64_t DirectJumpTarget(const Instruction& instruction) {
  return instruction.next() + static_cast<uint64_t>(instruction.info.raw.imm[0].value.s);
}

bool CanRelocate(const Instruction& instruction) {
  if (!instruction.valid) return false;
  if (instruction.callee != KnownCallee::kNone || instruction.linkage != Linkage::kNone) return true;
  if (HasRelativeImmediate(instruction)) {
    return IsDirectJump(instruction) && !HasAttribute(instruction, ZYDIS_ATTRIB_HAS_OPERANDSIZE);
  }
  if (instruction.info.meta.category == ZYDIS_CATEGORY_CALL) return false;
  return !IsRipRelative(instruction) || !HasAttribute(instruction, ZYDIS_ATTRIB_HAS_ADDRESSSIZE);
}

void RelocateInstruction(const Instruction& instruction, CodeWriter* writer) {
  const std::span<const uint8_t> bytes(instruction.bytes.data(), instruction.bytes.size());
  if (HasRelativeImmediate(instruction)) {  // a call of a known function
    constexpr uint8_t kCall = 0xe8;
    writer->Byte(kCall);
    writer->Rel32(writer->LabelOf(OriginalAddress(DirectJumpTarget(instruction))));
    return;
  }
  if (!IsRipRelative(instruction)) {
    writer->Bytes(bytes);
    return;
  }
  const size_t offset = instruction.info.raw.disp.offset;
  const uint64_t target = instruction.rip() + static_cast<uint64_t>(instruction.info.raw.disp.value);
  const std::span<const uint8_t> rest = bytes.subspan(offset + 4);
  writer->Bytes(bytes.first(offset));
  writer->Rel32(writer->LabelOf(target), static_cast<int>(rest.size()));
  writer->Bytes(rest);
}

void RelocateJump(const Instruction& instruction, Label taken, CodeWriter* writer) {
  const uint8_t opcode = instruction.info.opcode;
  if (const int condition = ConditionOf(instruction); condition >= 0) {
    writer->JumpIf(static_cast<uint8_t>(condition), taken);
  } else if (opcode == 0xe9 || opcode == 0xeb) {
    writer->Jump(taken);
  } else {
    // loop and jrcxz know only rel8: over a short jump to a long one. Prefixes (jecxz) are part of the bytes.
    writer->Bytes(std::span(instruction.bytes.data(), instruction.bytes.size() - 1));
    writer->Bytes({0x02, 0xeb, 0x05});
    writer->Jump(taken);
  }
}

}  // namespace tracelift::jit

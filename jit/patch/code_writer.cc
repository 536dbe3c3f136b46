#include "jit/patch/code_writer.h"

#include <cstring>

namespace tracelift::jit {

void CodeWriter::Imm32(uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) Byte(static_cast<uint8_t>(value >> shift));
}

void CodeWriter::PadTo(uint64_t alignment, uint64_t remainder) {
  while ((here() & (alignment - 1)) != (remainder & (alignment - 1))) Byte(0xcc);
}

Label CodeWriter::NewLabel() { return LabelOf(0); }

Label CodeWriter::LabelOf(uint64_t address) {
  addresses_.push_back(address);
  return static_cast<Label>(addresses_.size() - 1);
}

void CodeWriter::Rel32(Label label, int trailing) {
  fixups_.push_back({bytes_.size(), label, trailing});
  Imm32(0);
}

void CodeWriter::Jump(Label label) {
  Byte(0xe9);
  Rel32(label);
}

void CodeWriter::JumpIf(uint8_t condition, Label label) {
  Bytes({0x0f, static_cast<uint8_t>(0x80 | condition)});
  Rel32(label);
}

void CodeWriter::RipRelative(std::initializer_list<uint8_t> opcode, uint64_t target,
                             std::initializer_list<uint8_t> immediate) {
  Bytes(opcode);
  Rel32(LabelOf(target), static_cast<int>(immediate.size()));
  Bytes(immediate);
}

bool CodeWriter::Finish() {
  for (const Fixup& fixup : fixups_) {
    const uint64_t next = address_ + fixup.offset + 4 + static_cast<uint64_t>(fixup.trailing);
    const auto distance = static_cast<int64_t>(AddressOf(fixup.label) - next);
    const auto displacement = static_cast<int32_t>(distance);
    if (displacement != distance) return false;
    std::memcpy(bytes_.data() + fixup.offset, &displacement, sizeof(displacement));
  }
  return true;
}

}  // namespace tracelift::jit

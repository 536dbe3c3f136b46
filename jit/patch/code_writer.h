// Writes machine code for a known address, with labels: all branches are rel32, resolved when finished.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

namespace tracelift::jit {

enum class Label : int32_t {};

class CodeWriter {
 public:
  /// The first byte written will lie at `address`.
  explicit CodeWriter(uint64_t address) : address_(address) {}

  uint64_t here() const { return address_ + bytes_.size(); }
  void Byte(uint8_t byte) { bytes_.push_back(byte); }
  void Bytes(std::initializer_list<uint8_t> bytes) { bytes_.insert(bytes_.end(), bytes); }
  void Bytes(std::span<const uint8_t> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void Imm32(uint32_t value);
  /// int3 up to the next address that equals `remainder` modulo `alignment` (a power of two).
  void PadTo(uint64_t alignment, uint64_t remainder = 0);

  Label NewLabel();
  /// A label of an address outside of what is written here.
  Label LabelOf(uint64_t address);
  void Bind(Label label) { addresses_[static_cast<size_t>(label)] = here(); }
  uint64_t AddressOf(Label label) const { return addresses_[static_cast<size_t>(label)]; }

  /// A 32-bit displacement to `label`, counted from `trailing` bytes after itself.
  void Rel32(Label label, int trailing = 0);
  void Jump(Label label);
  /// `condition`: the low four bits of the opcode (0x4: equal, 0x5: not equal, ...).
  void JumpIf(uint8_t condition, Label label);
  /// `opcode` bytes (ModRM with mod 0, rm 5 last), then the displacement to `target`, then `immediate`.
  void RipRelative(std::initializer_list<uint8_t> opcode, uint64_t target,
                   std::initializer_list<uint8_t> immediate = {});

  /// Resolves all displacements; false when one does not fit in 32 bits.
  bool Finish();
  std::span<const uint8_t> bytes() const { return bytes_; }

 private:
  struct Fixup {
    size_t offset;
    Label label;
    int trailing;
  };
  uint64_t address_;
  std::vector<uint8_t> bytes_;
  std::vector<uint64_t> addresses_;  // per label, 0 until bound
  std::vector<Fixup> fixups_;
};

}  // namespace tracelift::jit

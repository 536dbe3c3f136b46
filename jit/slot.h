// A slot is memory of a region at an address that no iteration changes, accessed by instructions that name that address, or
// a register that holds it: a spilled variable, a local of unoptimised code, a global, a constant in .rodata. It lives in
// MachineState::slot while the region runs elsewhere, and is written back after. Mostly all its users read and write all of
// it. Where they do not (a long that is also read as an int, a structure that is copied as a whole), it is the smallest area
// that covers the accesses that overlap.
#pragma once

#include <cstdint>
#include <cstring>

#include "jit/machine_state.h"

namespace tracelift::jit {

struct Slot {
  int8_t base = -1;           // general purpose register (unchanged in the loop), or -1: `displacement` is the address
  int16_t through = -1;       // the base is the pointer in this slot, an earlier one, whatever `base` says
  bool fs = false;            // it counts from the base of fs besides: data of the thread
  int64_t displacement = 0;
  uint8_t bytes = 8;          // 1 to kSlotBytes
  bool read = false;
  bool written = false;
  uint64_t stored = 0;        // bit i: some instruction writes byte i; of a part that is only read, nothing is written back
  uint64_t instruction = 0;   // address of the first instruction that uses it, for messages
  constexpr bool operator==(const Slot&) const = default;
  /// `displacement` is the address, in every thread at every entry.
  constexpr bool IsAbsolute() const { return base < 0 && through < 0 && !fs; }
};

/// A bit for each of the first `bytes` bytes of a slot.
constexpr uint64_t SlotByteMask(int bytes) { return bytes >= 64 ? ~uint64_t{0} : (uint64_t{1} << bytes) - 1; }
static_assert(kSlotBytes == 64, "one bit for each byte");

/// Where `slot` lies; of the slots that it goes through, `state` has the values.
inline uint64_t AddressOf(const Slot& slot, const MachineState& state) {
  uint64_t base = slot.base >= 0 ? state.gpr[static_cast<size_t>(slot.base)] : 0;
  if (slot.through >= 0) std::memcpy(&base, state.slot[static_cast<size_t>(slot.through)].bytes.data(), sizeof base);
  if (slot.fs) base += state.fs_base;
  return base + static_cast<uint64_t>(slot.displacement);
}

}  // namespace tracelift::jit

// A slot is a memory scalar of a region at an address that no iteration changes: a spilled variable, a global, a
// constant in .rodata. It lives in MachineState::slot while the region runs elsewhere, and is written back after.
#pragma once

#include <cstdint>

namespace tracelift::jit {

struct Slot {
  int8_t base = -1;           // general purpose register (unchanged in the loop), or -1: `displacement` is the address
  int64_t displacement = 0;
  uint8_t bytes = 8;          // 1, 2, 4, 8 or 16
  bool read = false;
  bool written = false;
  uint64_t instruction = 0;   // address of the first instruction that uses it, for messages
  constexpr bool operator==(const Slot&) const = default;
};

}  // namespace tracelift::jit

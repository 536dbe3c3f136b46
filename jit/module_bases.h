// The loaded files that a region's code lies in, so that what is compiled from it does not depend on where they are loaded.
//
// Code refers to its own file by distance: globals, tables and return addresses lie at an offset from the file's first
// byte, and that byte's address is part of the state at entry (MachineState::module_base). Files that are always loaded at
// the same place have no number: their addresses are constants, also in the code itself.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "jit/code_reader.h"
#include "jit/function_code.h"
#include "jit/machine_state.h"

namespace tracelift::jit {

/// An address as it can be told to another process.
struct PlacedAddress {
  int8_t module = -1;   // number of the file that `offset` counts from, or -1: `offset` is the address
  uint64_t offset = 0;
  constexpr bool operator==(const PlacedAddress&) const = default;
};

/// Numbered in the order in which the function's instructions come by them, which is the same wherever they are loaded.
class ModuleBases {
 public:
  ModuleBases() = default;
  /// Of all instructions of `function`, spliced ones included.
  static ModuleBases Of(const FunctionCode& function, const CodeReader& reader);

  /// False when some instruction lies in none that is known, or in one too many: addresses there mean nothing elsewhere.
  bool complete() const { return complete_; }
  int count() const { return count_; }
  uint64_t begin(int module) const { return places_[static_cast<size_t>(module)].begin; }
  /// As MachineState has them.
  std::array<uint64_t, kMaxModules> bases() const;
  /// -1 when `address` lies in none that moves.
  int IndexOf(uint64_t address) const;

  /// Bits above those of user space, which tell copies of callees apart, stay as they are.
  PlacedAddress Place(uint64_t address) const;
  /// nullopt when there is no module of that number.
  std::optional<uint64_t> AddressOf(PlacedAddress place) const;

 private:
  std::array<AddressRange, kMaxModules> places_{};
  int count_ = 0;
  bool complete_ = false;
};

}  // namespace tracelift::jit

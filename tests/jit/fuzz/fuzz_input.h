// One input of the fuzzer as a program sees it: a function, tables that never change, functions that it may call, and,
// for code taken from a library, that library around it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "jit/code_reader.h"
#include "tests/jit/code/loaded_library.h"

namespace tracelift::jit {

inline constexpr size_t kMostInputBytes = 8192;

// Where things lie, from the function's first byte on.
inline constexpr uint64_t kConstantsOffset = 0x4000, kCalleesOffset = 0x6000, kCalleeDistance = 0x400;

struct FuzzInput {
  uint64_t base = 0;  // address of the function
  std::vector<uint8_t> code;
  std::vector<uint8_t> constants;
  std::vector<std::vector<uint8_t>> callees;
  const LoadedLibrary* library = nullptr;  // null: nothing is around it
  uint64_t origin = 0;                     // where in the library the function was
};

/// Answers for the program of one input. What the linkage table is bound to, and which functions are memset, memmove or
/// never return, follows from the addresses asked for.
class InputReader : public CodeReader {
 public:
  /// `code` is input.code, perhaps elsewhere in memory. Without `callees` nothing is known of functions and linkage.
  InputReader(const FuzzInput& input, std::span<const uint8_t> code, bool callees)
      : input_(input), code_(code), base_(input.base), callees_(callees) {}

  AddressRange bounds() const { return {base_, base_ + code_.size()}; }
  bool Read(uint64_t address, std::span<uint8_t> out) const override;
  bool IsConstant(uint64_t address, size_t size) const override;
  KnownCallee CalleeAt(uint64_t address) const override;
  KnownCallee CalleeThrough(uint64_t address) const override;
  std::optional<uint64_t> LinkedFunction(uint64_t entry) const override;
  bool NeverReturns(uint64_t address) const override;
  std::optional<AddressRange> FunctionAround(uint64_t address) const override;

 private:
  uint64_t InLibrary(uint64_t address) const { return address - base_ + input_.origin; }
  std::span<const uint8_t> PlaceOf(uint64_t address, size_t size) const;

  const FuzzInput& input_;
  std::span<const uint8_t> code_;
  uint64_t base_;
  bool callees_;
};

}  // namespace tracelift::jit

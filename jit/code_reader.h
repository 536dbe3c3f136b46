// Where machine code and read-only data come from: the live process, an ELF file, or a test buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace tracelift::jit {

/// Half-open range of addresses [begin, end) in the traced program.
struct AddressRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  constexpr uint64_t size() const { return end - begin; }
  constexpr bool Contains(uint64_t address) const { return address >= begin && address < end; }
  constexpr bool operator==(const AddressRange&) const = default;
};

/// The loaded file around an address.
struct ModulePlace {
  AddressRange extent;  // from its first to its last byte
  bool moves = false;   // other processes may have it elsewhere: it is position-independent
  constexpr bool operator==(const ModulePlace&) const = default;
};

/// Functions whose meaning is known, so that a loop may call them. They obey the System V ABI and, as glibc's do, use no
/// stack beyond the red zone. Those of jit/vector_math.def (kExp, and kExpf for float) are known where relaxed math is asked for.
enum class KnownCallee : uint8_t {
  kNone,
  kMemset,
  kMemmove,  // memcpy is a memmove that promises more
#define TL_VECTOR_MATH(name, function, arguments) k##name, k##name##f,
#include "jit/vector_math.def"
#undef TL_VECTOR_MATH
};

/// Reads bytes of the program. Implementations must tolerate any address: they answer false, never fault.
class CodeReader {
 public:
  virtual ~CodeReader() = default;
  /// Fills `out` with the bytes at `address`; false when any of them is not readable.
  virtual bool Read(uint64_t address, std::span<uint8_t> out) const = 0;
  /// True when [address, address+size) lies in memory that can never change (a read-only segment of a module).
  virtual bool IsConstant(uint64_t address, size_t size) const = 0;
  /// The widest known range around `address` that is constant; empty when not even that byte is.
  virtual AddressRange ConstantAround(uint64_t address) const { return {address, address + (IsConstant(address, 1) ? 1u : 0u)}; }
  /// What a call to `address` ends up in, linkage tables followed.
  virtual KnownCallee CalleeAt(uint64_t address) const {
    (void)address;
    return KnownCallee::kNone;
  }
  /// What a call through the pointer stored at `address` ends up in.
  virtual KnownCallee CalleeThrough(uint64_t address) const {
    (void)address;
    return KnownCallee::kNone;
  }
  /// The function that the pointer at `entry`, part of a linkage table (GOT), is bound to; nullopt when it is none, not
  /// bound yet, or not known.
  virtual std::optional<uint64_t> LinkedFunction(uint64_t entry) const {
    (void)entry;
    return std::nullopt;
  }
  /// Calls of `address`, linkage tables followed, never come back: abort, a function that throws. May be false for such.
  virtual bool NeverReturns(uint64_t address) const {
    (void)address;
    return false;
  }
  /// Bounds of the function around `address`, as the unwind tables of its module tell; nullopt when they do not.
  virtual std::optional<AddressRange> FunctionAround(uint64_t address) const {
    (void)address;
    return std::nullopt;
  }
  /// The file that `address` belongs to; nullopt when it belongs to none, or that is not known.
  virtual std::optional<ModulePlace> ModuleAround(uint64_t address) const {
    (void)address;
    return std::nullopt;
  }
};

}  // namespace tracelift::jit

// The user-visible x86-64 state of one thread at one instruction boundary, as regions see it.
//
// The layout is shared with compiled code (jit/emit) and with the entry assembly (jit/patch): every field is at a
// fixed offset, checked below. Rule: a MachineState is plain memory; it may be copied, but holds no ownership.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tracelift::jit {

/// General purpose registers in hardware encoding order, so that `gpr[encoding]` is the register.
enum Gpr : uint8_t { kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi, kR8, kR9, kR10, kR11, kR12, kR13, kR14, kR15 };

inline constexpr int kGprCount = 16;
inline constexpr int kVectorCount = 32;
inline constexpr int kMaxSlots = 48;

/// One vector register, widest form; SSE code uses the low 16 bytes and leaves the rest as it found them.
struct alignas(64) VectorRegister {
  std::array<uint8_t, 64> bytes;
};

/// A memory scalar at an address that does not change inside the region, kept as if it were a register.
struct alignas(16) SlotValue {
  std::array<uint8_t, 16> bytes;
};

struct MachineState {
  std::array<uint64_t, kGprCount> gpr;              // offset 0
  uint64_t rflags;                                  // offset 128
  uint64_t rip;                                     // offset 136
  uint32_t mxcsr;                                   // offset 144
  uint32_t reserved[11];                            // pads to 192
  std::array<VectorRegister, kVectorCount> vector;  // offset 192
  std::array<SlotValue, kMaxSlots> slot;            // offset 2240
};

static_assert(offsetof(MachineState, rflags) == 128);
static_assert(offsetof(MachineState, rip) == 136);
static_assert(offsetof(MachineState, mxcsr) == 144);
static_assert(offsetof(MachineState, vector) == 192);
static_assert(offsetof(MachineState, slot) == 2240);

/// A set of registers: bits 0-15 general purpose, 16-47 vector, 48 the arithmetic flags (CF PF AF ZF SF OF).
class RegisterSet {
 public:
  static constexpr int kVectorBase = 16;
  static constexpr int kFlagsBit = 48;
  static constexpr RegisterSet All() { return RegisterSet((uint64_t{1} << (kFlagsBit + 1)) - 1); }

  constexpr RegisterSet() = default;
  constexpr explicit RegisterSet(uint64_t bits) : bits_(bits) {}
  constexpr void AddGpr(int n) { bits_ |= uint64_t{1} << n; }
  constexpr void AddVector(int n) { bits_ |= uint64_t{1} << (kVectorBase + n); }
  constexpr void AddFlags() { bits_ |= uint64_t{1} << kFlagsBit; }
  constexpr bool HasGpr(int n) const { return bits_ >> n & 1; }
  constexpr bool HasVector(int n) const { return bits_ >> (kVectorBase + n) & 1; }
  constexpr bool HasFlags() const { return bits_ >> kFlagsBit & 1; }
  constexpr uint64_t bits() const { return bits_; }
  constexpr RegisterSet operator|(RegisterSet o) const { return RegisterSet(bits_ | o.bits_); }
  constexpr RegisterSet operator&(RegisterSet o) const { return RegisterSet(bits_ & o.bits_); }
  constexpr RegisterSet operator-(RegisterSet o) const { return RegisterSet(bits_ & ~o.bits_); }
  constexpr bool operator==(const RegisterSet&) const = default;

 private:
  uint64_t bits_ = 0;
};

}  // namespace tracelift::jit

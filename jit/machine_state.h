// The user-visible x86-64 state of one thread at one instruction boundary, as regions see it.
//
// The layout is shared with compiled code (jit/emit) and with the entry assembly (jit/patch): every field is at a
// fixed offset, checked below. Rule: a MachineState is plain memory; it may be copied, but holds no ownership.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace tracelift::jit {

/// General purpose registers in hardware encoding order, so that `gpr[encoding]` is the register.
enum Gpr : uint8_t { kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi, kR8, kR9, kR10, kR11, kR12, kR13, kR14, kR15 };

inline constexpr int kGprCount = 16;
inline constexpr int kVectorCount = 32;
inline constexpr int kMaskCount = 8;
inline constexpr int kMaxSlots = 96;
inline constexpr int kSlotBytes = 64;
inline constexpr int kMaxModules = 4;
inline constexpr int kMaxWindows = 16;

/// One vector register, widest form; SSE code uses the low 16 bytes and leaves the rest as it found them, AVX code the
/// low 32 or 16 and clears the rest.
struct alignas(64) VectorRegister {
  std::array<uint8_t, 64> bytes;
};

/// Memory at an address that does not change inside the region (jit/slot.h), kept as if it were a register.
struct alignas(16) SlotValue {
  std::array<uint8_t, kSlotBytes> bytes;
};

/// Memory that a region reads at addresses which only data decide (jit/footprint.h): readable, and written by nobody while
/// it runs.
struct ReadWindow {
  uint64_t begin = 0, end = 0;
};

struct MachineState {
  std::array<uint64_t, kGprCount> gpr;              // offset 0
  uint64_t rflags;                                  // offset 128
  uint64_t rip;                                     // offset 136
  uint32_t mxcsr;                                   // offset 144
  uint32_t reserved;
  std::array<uint64_t, kMaxModules> module_base;    // offset 152: where loaded files begin (jit/module_bases.h)
  uint64_t fs_base;                                 // offset 184: where the thread's own data lie (thread_local)
  std::array<VectorRegister, kVectorCount> vector;  // offset 192
  std::array<uint64_t, kMaskCount> mask;            // offset 2240: k0 to k7
  std::array<ReadWindow, kMaxWindows> window;       // offset 2304: of the slice under way
  std::array<SlotValue, kMaxSlots> slot;            // offset 2560
};

static_assert(offsetof(MachineState, rflags) == 128);
static_assert(offsetof(MachineState, rip) == 136);
static_assert(offsetof(MachineState, mxcsr) == 144);
static_assert(offsetof(MachineState, module_base) == 152);
static_assert(offsetof(MachineState, fs_base) == 184);
static_assert(offsetof(MachineState, vector) == 192);
static_assert(offsetof(MachineState, mask) == 2240);
static_assert(offsetof(MachineState, window) == 2304);
static_assert(offsetof(MachineState, slot) == 2560);

/// The number of the module whose base lies at that offset of a MachineState.
constexpr std::optional<int> ModuleBaseAt(uint64_t offset) {
  const uint64_t from_first = offset - offsetof(MachineState, module_base);
  if (from_first >= sizeof(MachineState::module_base) || from_first % sizeof(uint64_t) != 0) return std::nullopt;
  return static_cast<int>(from_first / sizeof(uint64_t));
}

/// A set of registers: general purpose ones, vector registers in two parts (the low 8 bytes, and what lies above: scalar
/// code leaves garbage there), the arithmetic flags (CF PF AF ZF SF OF) as one, and the mask registers of AVX-512.
class RegisterSet {
 public:
  static constexpr RegisterSet All() {
    RegisterSet all;
    for (int n = 0; n < kGprCount; ++n) all.AddGpr(n);
    for (int n = 0; n < kVectorCount; ++n) all.AddVector(n);
    for (int n = 0; n < kMaskCount; ++n) all.AddMask(n);
    all.AddFlags();
    return all;
  }

  constexpr RegisterSet() = default;
  constexpr void AddGpr(int n) { scalar_ |= uint64_t{1} << n; }
  constexpr void AddVector(int n) {
    AddVectorLow(n);
    upper_ |= uint32_t{1} << n;
  }
  constexpr void AddVectorLow(int n) { low_ |= uint32_t{1} << n; }
  constexpr void AddFlags() { scalar_ |= kFlags; }
  constexpr void AddMask(int n) { scalar_ |= kFirstMask << n; }
  constexpr void RemoveGpr(int n) { scalar_ &= ~(uint64_t{1} << n); }
  constexpr void RemoveGprs() { scalar_ &= ~(kFlags - 1); }
  constexpr void RemoveVectorUpper(int n) { upper_ &= ~(uint32_t{1} << n); }
  constexpr void RemoveVectorLow(int n) { low_ &= ~(uint32_t{1} << n); }
  constexpr void RemoveVector(int n) {
    RemoveVectorUpper(n);
    RemoveVectorLow(n);
  }
  constexpr bool HasGpr(int n) const { return scalar_ >> n & 1; }
  constexpr bool HasVector(int n) const { return (low_ | upper_) >> n & 1; }
  constexpr bool HasVectorUpper(int n) const { return upper_ >> n & 1; }
  constexpr bool HasFlags() const { return (scalar_ & kFlags) != 0; }
  constexpr bool HasMask(int n) const { return (scalar_ & kFirstMask << n) != 0; }
  constexpr RegisterSet operator|(RegisterSet o) const {
    return {scalar_ | o.scalar_, low_ | o.low_, upper_ | o.upper_};
  }
  constexpr RegisterSet operator&(RegisterSet o) const {
    return {scalar_ & o.scalar_, low_ & o.low_, upper_ & o.upper_};
  }
  constexpr RegisterSet operator-(RegisterSet o) const {
    return {scalar_ & ~o.scalar_, low_ & ~o.low_, upper_ & ~o.upper_};
  }
  constexpr bool operator==(const RegisterSet&) const = default;

 private:
  static constexpr uint64_t kFlags = uint64_t{1} << kGprCount;
  static constexpr uint64_t kFirstMask = kFlags << 1;
  constexpr RegisterSet(uint64_t scalar, uint32_t low, uint32_t upper) : scalar_(scalar), low_(low), upper_(upper) {}

  uint64_t scalar_ = 0;  // bit n: gpr n; bit 16: flags; bit 17 + n: mask n
  uint32_t low_ = 0, upper_ = 0;
};

}  // namespace tracelift::jit

// The oracle: snippets of machine code executed by the CPU itself, the whole register file going in and coming out.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "jit/machine_state.h"

namespace tracelift::jit {

/// Code must end with a jump to this address.
uint64_t NativeExitAddress();

/// Catches SIGFPE and SIGILL of snippets from here on, on a stack of its own.
void InstallFaultHandler();

/// Bytes of a vector register on this machine: 16, 32 or 64.
int VectorBytes();
/// How many there are: 16, and 32 with AVX-512, which has mask registers too.
int VectorCount();

/// Code inside runs under this MXCSR.
class FloatModeScope {
 public:
  explicit FloatModeScope(uint32_t mxcsr) : before_(_mm_getcsr()) { _mm_setcsr(mxcsr); }
  ~FloatModeScope() { _mm_setcsr(before_); }
  FloatModeScope(const FloatModeScope&) = delete;
  FloatModeScope& operator=(const FloatModeScope&) = delete;

 private:
  const uint32_t before_;
};

/// Runs `code` from `in` (gpr, the base of fs unless it is 0, MXCSR's control bits, arithmetic flags, vector and mask registers as the machine has them; rsp must point to usable memory). False
/// when it faulted; `out` is then what it had computed so far. Not for several threads at once.
bool RunNative(const MachineState& in, uint64_t code, MachineState* out);

inline constexpr uint64_t kArithmeticFlags = 0x8d5;  // CF PF AF ZF SF OF

}  // namespace tracelift::jit

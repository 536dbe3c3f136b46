// The oracle: snippets of machine code executed by the CPU itself, the whole register file going in and coming out.
#pragma once

#include <cstdint>

#include "jit/machine_state.h"

namespace tracelift::jit {

/// Code must end with a jump to this address.
uint64_t NativeExitAddress();

/// Catches SIGFPE and SIGILL of snippets from here on, on a stack of its own.
void InstallFaultHandler();

/// Bytes of a vector register on this machine: 16, 32 or 64.
int VectorBytes();

/// Runs `code` from `in` (gpr, arithmetic flags, vector 0-15 as wide as they are; rsp must point to usable memory). False
/// when it faulted; `out` is then what it had computed so far. Not for several threads at once.
bool RunNative(const MachineState& in, uint64_t code, MachineState* out);

inline constexpr uint64_t kArithmeticFlags = 0x8d5;  // CF PF AF ZF SF OF

}  // namespace tracelift::jit

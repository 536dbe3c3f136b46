// The oracle: snippets of machine code executed by the CPU itself, the whole register file going in and coming out.
#pragma once

#include <cstdint>

#include "jit/machine_state.h"

namespace tracelift::jit {

/// Code must end with a jump to this address.
uint64_t NativeExitAddress();

/// Catches SIGFPE of snippets from here on, on a stack of its own.
void InstallFaultHandler();

/// Runs `code` from `in` (gpr, arithmetic flags, low 16 bytes of vector 0-15; rsp must point to usable memory). False
/// when it raised a divide fault; `out` is then what it had computed so far. Not for several threads at once.
bool RunNative(const MachineState& in, uint64_t code, MachineState* out);

inline constexpr uint64_t kArithmeticFlags = 0x8d5;  // CF PF AF ZF SF OF

}  // namespace tracelift::jit

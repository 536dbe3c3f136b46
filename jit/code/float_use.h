// What an instruction does with floats, and how its form is named in statistics.
#pragma once

#include <string>

#include "jit/code/decoded_function.h"
#include "jit/loop_coverage.h"

namespace tracelift::jit {

FloatUse FloatUseOf(const Instruction& instruction);

/// The mnemonic with what makes another form of it: "lock add", "rep stosq", "paddd (MMX)", "vaddpd (EVEX)".
std::string FormOf(const Instruction& instruction);

}  // namespace tracelift::jit

// What must hold for every decoded function, whatever its bytes.
#pragma once

#include <string>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

/// The first invariant that is broken, in words; empty when all hold.
std::string BrokenInvariant(const DecodedFunction& function);

}  // namespace tracelift::jit

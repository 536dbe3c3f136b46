// Which registers a loop computes with as they are when it is entered: candidates for being compiled in.
#pragma once

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

/// By forward data flow from the header. A register that is pushed and popped again holds the same before and after;
/// being pushed is no use of it, or all registers that a callee keeps for its caller would count.
RegisterSet UsedFromEntry(const DecodedFunction& code, LoopId loop);

}  // namespace tracelift::jit

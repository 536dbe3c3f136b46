// Functions that control does not come back from: abort, what throws, what prints an error and exits. Compilers put
// anything behind a call of one, so taking it for an ordinary call makes up control flow that does not exist. Private to
// jit/code.
#pragma once

#include <cstdint>
#include <functional>

#include "jit/code_reader.h"
#include "jit/never_returning.h"

namespace tracelift::jit {

/// No way through the function's code leads to a return or out of it, when calls of functions for which `never_returns`
/// is true lead nowhere. `never_returns` is asked no more often than needed: only for calls without which nothing else is
/// reached.
bool HasNoWayOut(const CodeReader& reader, AddressRange function,
                 const std::function<bool(uint64_t callee)>& never_returns);

}  // namespace tracelift::jit

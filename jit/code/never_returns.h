// Functions that control does not come back from: abort, what throws, what prints an error and exits. Compilers put
// anything behind a call of one, so taking it for an ordinary call makes up control flow that does not exist. Private to
// jit/code.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "jit/code_reader.h"

namespace tracelift::jit {

/// Of the standard libraries of C, C++ and Fortran. Those are known by name because their code does not show it (longjmp
/// ends in an ordinary jump), or because the library may not be at hand.
bool IsKnownNotToReturn(std::string_view symbol);

/// No way through the function's code leads to a return or out of it, when calls of functions for which `never_returns`
/// is true lead nowhere. `never_returns` is asked no more often than needed: only for calls without which nothing else is
/// reached.
bool HasNoWayOut(const CodeReader& reader, AddressRange function,
                 const std::function<bool(uint64_t callee)>& never_returns);

}  // namespace tracelift::jit

// Functions of the standard libraries of C, C++ and Fortran that do not come back.
#pragma once

#include <string_view>

namespace tracelift::jit {

/// By name, because their code does not show it (longjmp ends in an ordinary jump), or because the library may not be at
/// hand, or the name not bound to a function yet.
bool IsKnownNotToReturn(std::string_view symbol);

}  // namespace tracelift::jit

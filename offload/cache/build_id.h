// What names this very build of the file that contains this code.
#pragma once

#include <string>

namespace tracelift::offload {

/// The GNU build id as hexadecimal digits; empty when the file was linked without one.
std::string OwnBuildId();

}  // namespace tracelift::offload

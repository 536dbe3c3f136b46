// Which variant of a function this processor gets (STT_GNU_IFUNC), for files whose very copy this process has loaded: the
// C library and its mathematics, above all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tracelift::offload {

/// What the resolver at `resolver` (as linked) of the library `path` answers, as linked. nullopt when this process has not
/// loaded that file, or when there is no code at that place. Runs the resolver, as the dynamic linker did before.
std::optional<uint64_t> ChooseIndirectFunction(const std::string& path, uint64_t resolver);

}  // namespace tracelift::offload

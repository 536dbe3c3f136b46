// The callers of a sampled instruction, from a copy of its thread's registers and stack.
#pragma once

#include <cstdint>
#include <vector>

#include "profiler/modules.h"
#include "profiler/preload_api.h"

namespace tracelift::profiler {

inline constexpr int kMaxUnwindDepth = 64;

/// Return addresses, innermost first, without the sampled address itself; at most kMaxUnwindDepth. Walks with the
/// modules' unwind tables (.eh_frame), so frame pointers and symbols are not needed; ends quietly where the copied
/// stack, the tables or sense end. `modules` must be current: tables are read from live memory, safely also when a
/// module is gone. A return address may be the first byte of the next function (after a call that never returns): look
/// up `address - 1`. Thread rule: any thread, not in a signal handler.
std::vector<uint64_t> Unwind(const TlStackSample& sample, const ModuleList& modules);

}  // namespace tracelift::profiler

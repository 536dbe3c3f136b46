// The threads of this process, listed by the kernel.
#pragma once

#include "profiler/preload_api.h"

namespace tracelift::preload {

inline constexpr char kOwnThreadName[] = TL_OWN_THREAD_NAME;

/// Calls visit(tid, context) for each thread; false when the list cannot be read. Opens and closes a descriptor.
bool ForEachThread(void (*visit)(int tid, void* context), void* context);

/// Is the thread one of ours? False also for a thread that has ended.
bool IsOwnThread(int tid);

}  // namespace tracelift::preload

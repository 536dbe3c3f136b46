// The threads of this process, listed by the kernel.
#pragma once

namespace tracelift::preload {

/// Name (PR_SET_NAME) of our own threads; what they start inherits it. That is how they are told from the program's.
inline constexpr char kOwnThreadName[] = "tracelift:watch";

/// Calls visit(tid, context) for each thread; false when the list cannot be read. Opens and closes a descriptor.
bool ForEachThread(void (*visit)(int tid, void* context), void* context);

/// Is the thread one of ours? False also for a thread that has ended.
bool IsOwnThread(int tid);

}  // namespace tracelift::preload

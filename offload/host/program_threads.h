// How many threads the program has, ours not counted.
#pragma once

namespace tracelift::offload {

/// Whether the calling thread, the program's, is its only one. What it does not start nobody does: that stays so while it is with us.
/// Raw system calls only.
bool IsOnlyThread();

}  // namespace tracelift::offload

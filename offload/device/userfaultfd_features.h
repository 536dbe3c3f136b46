// Of linux/userfaultfd.h and linux/pidfd.h, what Debian 12's headers are too old for.
#pragma once

#include <fcntl.h>

#include <cstdint>

namespace tracelift::offload {

inline constexpr uint64_t kWriteProtectUnpopulated = 1 << 13, kWriteProtectAsync = 1 << 15;  // UFFD_FEATURE_WP_UNPOPULATED, _WP_ASYNC, Linux 6.7
inline constexpr unsigned kPidfdOfThread = O_EXCL;                                             // PIDFD_THREAD, Linux 6.9

}  // namespace tracelift::offload

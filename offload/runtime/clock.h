// Monotonic time for decisions of the session, milliseconds.
#pragma once

#include <time.h>

namespace tracelift::offload {

inline double NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

}  // namespace tracelift::offload

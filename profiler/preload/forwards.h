// The next definitions of the functions that this library stands in front of: the C library's, or those of another
// preloaded library. Until they are looked up, substitutes that make the system call.
#pragma once

#include <signal.h>
#include <stddef.h>

namespace tracelift::preload {

struct ForwardTable {
  int (*sigaction)(int, const struct sigaction*, struct sigaction*);
  sighandler_t (*signal)(int, sighandler_t);
  sighandler_t (*sysv_signal)(int, sighandler_t);
  int (*pthread_sigmask)(int, const sigset_t*, sigset_t*);
  int (*sigprocmask)(int, const sigset_t*, sigset_t*);
  int (*unshare)(int);
  int (*setns)(int, int);
  void* (*mremap)(void*, size_t, size_t, int, ...);
  void (*exit_now)(int);
};

const ForwardTable& Forwards();

}  // namespace tracelift::preload

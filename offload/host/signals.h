// Blocking signals by the kernel's own call, past any interposition and without libc's thread bookkeeping.
#pragma once

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace tracelift::offload {

using SignalMask = uint64_t;  // the kernel's 64-bit signal set

inline constexpr SignalMask SignalBit(int signo) { return SignalMask{1} << (signo - 1); }
/// Signals a thread raises itself by what it executes: blocking them would kill it at once.
inline constexpr SignalMask kSynchronousSignals = SignalBit(SIGSEGV) | SignalBit(SIGBUS) | SignalBit(SIGFPE) |
                                                  SignalBit(SIGILL) | SignalBit(SIGTRAP);

/// Blocks every signal but the synchronous ones for the calling thread; returns the mask before.
inline SignalMask BlockAllSignals() {
  const SignalMask block = ~kSynchronousSignals;
  SignalMask before = 0;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, &block, &before, sizeof(before));
  return before;
}

inline void RestoreSignals(SignalMask mask) {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof(mask));
}

/// A signal waits that the thread would take under `mask`.
inline bool SignalWaits(SignalMask mask) {
  SignalMask pending = 0;
  syscall(SYS_rt_sigpending, &pending, sizeof(pending));
  return (pending & ~mask) != 0;
}

}  // namespace tracelift::offload

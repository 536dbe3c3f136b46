// System calls without the C library: no errno, no thread-local access, no cancellation points. The watcher lives on
// these until the runtime is opened, because it must not make the C library believe that the program has threads.
// Results are the kernel's: a value, or a negative error number.
#pragma once

#include <sys/syscall.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

namespace tracelift::preload {

inline long Syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

template <typename T>
long AsLong(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

inline int ProcessId() { return static_cast<int>(Syscall(SYS_getpid)); }
inline int ThreadId() { return static_cast<int>(Syscall(SYS_gettid)); }

inline uint64_t ClockNs(int clock) {
  timespec now{};
  Syscall(SYS_clock_gettime, clock, AsLong(&now));
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

/// Opens close-on-exec. The name is relative to the working directory, as usual.
inline int OpenFile(const char* name, int flags) {
  constexpr int kCloseOnExec = 02000000;
  constexpr int kHere = -100;
  return static_cast<int>(Syscall(SYS_openat, kHere, AsLong(name), flags | kCloseOnExec, 0));
}
inline void CloseFile(int fd) { Syscall(SYS_close, fd); }

/// Reads a small file of /proc as a string; returns its length, or a negative error number.
inline long ReadSmallFile(const char* name, char* out, size_t size) {
  const int fd = OpenFile(name, 0);
  if (fd < 0) return fd;
  size_t length = 0;
  while (length + 1 < size) {
    const long n = Syscall(SYS_read, fd, AsLong(out + length), static_cast<long>(size - 1 - length));
    if (n <= 0) break;
    length += static_cast<size_t>(n);
  }
  CloseFile(fd);
  out[length] = 0;
  return static_cast<long>(length);
}

/// All 64 signals. Only for threads that the C library does not know: it needs 32 and 33 on its own.
inline constexpr uint64_t kAllSignals = ~uint64_t{0};
constexpr uint64_t SignalBit(int signo) { return uint64_t{1} << (signo - 1); }
inline uint64_t SetSignalMask(uint64_t mask) {
  uint64_t old = 0;
  constexpr int kSetMask = 2;
  Syscall(SYS_rt_sigprocmask, kSetMask, AsLong(&mask), AsLong(&old), sizeof(mask));
  return old;
}

}  // namespace tracelift::preload

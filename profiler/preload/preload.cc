// libtracelift.so: what LD_PRELOAD puts into a program.
//
// The rules of injected code, for every file of this folder:
//  1. The C library only: no C++ runtime, no exceptions, no thread-safe statics; a test inspects the built file.
//  2. The constructor runs in every process, also in /bin/true: it stays near 0.1 ms, takes no lock for long,
//     allocates nothing of its own, and changes nothing that the program can see.
//  3. Until something is hot there is one thread, which sleeps on the process's CPU clock, makes system calls only,
//     and which the C library does not know about (hidden_thread.h). It blocks all signals.
//  4. We never end, stop or hang the host: what fails is left out, and said only when TRACELIFT_LOG is at least 1.
//  5. No descriptor of ours is in the program's table (but one under --summary, idle_report.cc). No signal of ours
//     reaches the program (but the timer fallback's, where perf events are refused).
//  6. A forked child is inert. A vfork child runs nothing of ours: every interposed function tells by the process id.
//  7. What runs in signal handlers is async-signal-safe, keeps errno, and touches no thread-local storage but that.
//  8. Interposed functions do what the program would get without us, also before our constructor ran.
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "profiler/preload/config.h"
#include "profiler/preload/forwards.h"
#include "profiler/preload/idle_report.h"
#include "profiler/preload/raw_syscalls.h"
#include "profiler/preload/signals.h"
#include "profiler/preload/watcher.h"

namespace tracelift::preload {
namespace {

constexpr char kLibraryName[] = "libtracelift.so";

constinit Options options;  // initialised before the constructor runs
int process_id = 0;  // 0: not traced
uint64_t started_ns = 0;
std::atomic<bool> idle_report_done{false};

/// A forked child, a vfork child in our memory, or a process that is not traced?
bool IsTracedProcess() { return process_id != 0 && !IsForgotten() && ProcessId() == process_id; }

/// One report is the root's; where each process has a file of its own, all write theirs.
bool IsToReport() {
  const char* file = options.config.report;
  return (options.root && (file[0] != 0 || options.config.summary != 0)) || strstr(file, "%p") != nullptr;
}

void ReportIdle() {
  if (!IsTracedProcess() || !IsToReport() || OpenedRuntime() != nullptr) return;
  if (!idle_report_done.exchange(true)) WriteIdleReport(options, started_ns);
}

void InForkedChild() {
  if (process_id == 0) return;
  KeepHandlersInChild();
  DropStandardError();
  ForgetWatcher();
}

__attribute__((constructor)) void OnLoad() {
  ReadOptions(environ, &options);
  if (options.off || ThreadId() != ProcessId()) return;
  started_ns = ClockNs(CLOCK_MONOTONIC);
  if (options.root && !options.config.follow_children) RemoveFromPreload(environ, kLibraryName);
  ResolveForwards();
  process_id = ProcessId();
  pthread_atfork(nullptr, nullptr, &InForkedChild);
  if (options.root && options.config.summary) KeepStandardError();
  if (IsToReport()) atexit(&ReportIdle);
  StartWatcher(options);
}

/// _exit ends a program without its exit handlers.
void BeforeExit() {
  if (!IsTracedProcess()) return;
  if (const TlRuntime* runtime = OpenedRuntime()) {
    runtime->at_exit();
  } else {
    ReportIdle();
  }
}

}  // namespace
}  // namespace tracelift::preload

#pragma GCC visibility push(default)
extern "C" {

void _exit(int status) {
  tracelift::preload::BeforeExit();
  tracelift::preload::Forwards().exit_now(status);
  __builtin_unreachable();
}

void _Exit(int status) { _exit(status); }

// The kernel refuses these to a process with a second thread, which the program does not have.
int unshare(int flags) {
  using namespace tracelift::preload;
  const bool paused = IsTracedProcess() && PauseWatcher();
  const int result = Forwards().unshare(flags);
  if (paused) ResumeWatcher();
  return result;
}

int setns(int fd, int type) {
  using namespace tracelift::preload;
  const bool paused = IsTracedProcess() && PauseWatcher();
  const int result = Forwards().setns(fd, type);
  if (paused) ResumeWatcher();
  return result;
}

// The kernel moves one mapping, and what we ask it about a part of one makes two of it.
void* mremap(void* old_address, size_t old_bytes, size_t bytes, int flags, ...) noexcept {
  using namespace tracelift::preload;
  va_list arguments;
  va_start(arguments, flags);
  void* new_address = va_arg(arguments, void*);  // of no meaning without MREMAP_FIXED or MREMAP_DONTUNMAP
  va_end(arguments);
  if (const TlRuntime* runtime = IsTracedProcess() ? OpenedRuntime() : nullptr) {
    runtime->release_pages(reinterpret_cast<uint64_t>(old_address), old_bytes);
  }
  return Forwards().mremap(old_address, old_bytes, bytes, flags, new_address);
}

}  // extern "C"
#pragma GCC visibility pop

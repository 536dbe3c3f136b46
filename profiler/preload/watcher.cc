#include "profiler/preload/watcher.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include <atomic>
#include <cstdio>
#include <cstring>

#include "profiler/preload/hidden_thread.h"
#include "profiler/preload/hotness.h"
#include "profiler/preload/mappings.h"
#include "profiler/preload/own_allocator.h"
#include "profiler/preload/raw_syscalls.h"
#include "profiler/preload/sampler.h"
#include "profiler/preload/signals.h"
#include "profiler/preload/task_list.h"

namespace tracelift::preload {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr char kRuntimeName[] = "libtracelift_runtime.so";

// How often to look, and how finely to sample, while nothing hot has been found. CPU time of the process: an idle
// process is never woken.
struct Pace {
  uint64_t until_cpu_ms;  // since sampling began
  uint64_t look_every_ms;
  int rate_divisor;
};
constexpr Pace kPaces[] = {{250, 10, 1}, {2'000, 50, 5}, {~uint64_t{0}, 500, 10}};
// With the runtime at work: a sample costs 7 us on one virtual machine and 30 us on another, so a high rate is too dear
// for long, and the loops are found early on.
constexpr uint64_t kFineSamplingMs = 250;
constexpr int kCoarseDivisor = 5;

const Options* options = nullptr;
constinit Sampler sampler;
constinit HotnessCheck hotness;
volatile bool stopping = false;
std::atomic<bool> forgotten{false};
std::atomic<bool> watching{false};  // false again when there is nothing more to watch for, or the runtime took over
std::atomic<const TlRuntime*> opened{nullptr};
std::atomic<const char*> left_alone{nullptr};  // why
uint64_t sampling_since_ns = 0;  // process CPU time
int process_id = 0;

__attribute__((format(printf, 2, 3))) void Note(int level, const char* format, ...) {
  if (options->config.log < level) return;
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  if (length > 0) Syscall(SYS_write, 2, AsLong(text), length < 1023 ? length : 1023);
}

/// Sleeps while the process uses `ms` of CPU time. A signal of ours ends it early.
void SleepForCpu(uint64_t ms) {
  timespec duration{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000 * kNsPerMs)};
  Syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, 0, AsLong(&duration), AsLong(&duration));
}

uint64_t CpuMsSinceSampling() { return (ClockNs(CLOCK_PROCESS_CPUTIME_ID) - sampling_since_ns) / kNsPerMs; }

/// The value of one "Name:\tvalue..." line of a status file; empty when missing.
void StatusLine(const char* status, const char* name, char* out, size_t size) {
  out[0] = 0;
  const char* line = strstr(status, name);
  if (!line) return;
  line += strlen(name);
  const size_t length = strcspn(line, "\n");
  if (length >= size) return;
  memcpy(out, line, length);
  out[length] = 0;
}

/// The hidden thread does not take part in setuid() and the like; a program that gave up rights since it started, or
/// put itself into a sandbox, must not find us outside.
bool SameRightsAsProgram() {
  static char program[4096];
  static char own[4096];
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/task/%d/status", ThreadId());
  if (ReadSmallFile("/proc/self/status", program, sizeof(program)) <= 0) return false;
  if (ReadSmallFile(path, own, sizeof(own)) <= 0) return false;
  for (const char* name : {"\nUid:", "\nGid:", "\nGroups:", "\nCapEff:", "\nCapPrm:", "\nNoNewPrivs:", "\nSeccomp:"}) {
    char a[1024];
    char b[1024];
    StatusLine(program, name, a, sizeof(a));
    StatusLine(own, name, b, sizeof(b));
    if (strcmp(a, b) != 0) return false;
  }
  char seccomp[16];
  StatusLine(program, "\nSeccomp:", seccomp, sizeof(seccomp));
  return strcmp(seccomp, "\t0") == 0 || seccomp[0] == 0;
}

/// For good: says so where the user will look, and returns true.
bool LeaveAlone(const char* reason) {
  left_alone.store(reason);
  Note(1, "tracelift: pid %d: left alone: %s\n", ProcessId(), reason);
  return true;
}

bool MustBeLeftAlone() {
  if (!SameRightsAsProgram()) return LeaveAlone("the program changed its rights or is in a sandbox");
  if (HasSingleThreadedMalloc()) {
    return LeaveAlone(
        "the program brings its own malloc and starts no threads: a thread of ours would have to use it; linking it "
        "with a malloc for threads would help");
  }
  return false;
}

// The functions of TlHost.

int Drain(TlSample* out, int max) {
  if (forgotten.load()) return 0;
  if (sampler.hz() == options->config.sample_hz && CpuMsSinceSampling() > kFineSamplingMs) {
    sampler.SetRate(options->config.sample_hz / kCoarseDivisor);
  }
  sampler.Poll();
  return sampler.queue().Pop(out, max);
}

int DrainStacks(TlStackSample* out, int max) { return forgotten.load() ? 0 : sampler.DrainStacks(out, max); }

int IsChild() { return forgotten.load() || ProcessId() != process_id ? 1 : 0; }

int RealSigactionForHost(int signo, const void* action, void* old) {
  return RealSigaction(signo, static_cast<const struct sigaction*>(action), static_cast<struct sigaction*>(old));
}

void AtExit() {
  if (const TlRuntime* table = opened.load(); table && !forgotten.load()) table->at_exit();
}

TlHost host = {
    .version = TL_PRELOAD_API_VERSION,
    .config = nullptr,
    .drain = &Drain,
    .drain_stacks = &DrainStacks,
    .stats = &WatcherStats,
    .sigtrap_usable = &SigtrapUsable,
    .is_child = &IsChild,
    .real_sigaction = &RealSigactionForHost,
    .load_ns = 0,
};

/// The runtime beside this library, by the kernel's list of mappings: right also after the program changed directory.
bool FindRuntime(char* path, size_t size) {
  if (!FileMappedAt(reinterpret_cast<uint64_t>(&FindRuntime), path, size)) return false;
  char* slash = strrchr(path, '/');
  if (!slash || static_cast<size_t>(slash + 1 - path) + sizeof(kRuntimeName) > size) return false;
  strcpy(slash + 1, kRuntimeName);
  return true;
}

const TlRuntime* OpenRuntime() {
  // The program was single-threaded for the C library until a moment ago. An operation that began without a lock
  // (a malloc, a putc) has long ended when the program has run for a little.
  SleepForCpu(2);
  static char path[4352];
  if (!FindRuntime(path, sizeof(path))) return nullptr;
  const uint64_t start = ClockNs(CLOCK_MONOTONIC);
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    Note(1, "tracelift: the runtime was not opened: %s\n", dlerror());
    return nullptr;
  }
  const auto* table = static_cast<const TlRuntime*>(dlsym(library, "tracelift_runtime_table"));
  if (!table || table->version != TL_PRELOAD_API_VERSION) {
    Note(1, "tracelift: %s has version %u, this preload library needs %d; reinstall them together\n", path,
         table ? table->version : 0, TL_PRELOAD_API_VERSION);
    return nullptr;
  }
  host.load_ns = ClockNs(CLOCK_MONOTONIC) - start;
  return table;
}

// The second life, on a real thread.
void OpenAndRunRuntime() {
  Syscall(SYS_prctl, PR_SET_NAME, AsLong(kOwnThreadName));
  sampler.FindThreads();  // at once: this thread must not keep the process alive
  const TlRuntime* table = OpenRuntime();
  if (!table) return sampler.Stop();
  host.config = &options->config;
  InstallHandlers(table);
  opened.store(table);
  atexit(&AtExit);
  Note(1, "tracelift: pid %d: hot code at %#llx after %llu ms of sampling; runtime opened in %.1f ms\n", ProcessId(),
       static_cast<unsigned long long>(hotness.hot_page()), static_cast<unsigned long long>(CpuMsSinceSampling()),
       static_cast<double>(host.load_ns) / kNsPerMs);
  table->run(&host);
  Note(1, "tracelift: pid %d: the runtime gave up\n", ProcessId());
}

/// Lets the rate of sampling fall; returns how long to sleep.
uint64_t NextSleepMs() {
  const uint64_t sampled_ms = CpuMsSinceSampling();
  for (const Pace& pace : kPaces) {
    if (sampled_ms >= pace.until_cpu_ms) continue;
    const int hz = options->config.sample_hz / pace.rate_divisor;
    sampler.SetRate(hz > 0 ? hz : 1);
    return pace.look_every_ms;
  }
  return kPaces[0].look_every_ms;
}

// The first life. When it returns without having been stopped, it is over for good.
void WatchUntilHot() {
  Syscall(SYS_prctl, PR_SET_NAME, AsLong(kOwnThreadName));
  LeaveDescriptorTable(options->config.log > 0 ? 2 : -1);
  SleepForCpu(static_cast<uint64_t>(options->config.hot_ms));
  if (stopping) return;
  if (MustBeLeftAlone()) return;
  sampling_since_ns = ClockNs(CLOCK_PROCESS_CPUTIME_ID);
  if (!sampler.Start(options->config.sample_hz, options->timer_sampler)) {
    Note(1, "tracelift: pid %d: neither perf events nor timers can be used; not sampling\n", ProcessId());
    return;
  }
  for (;;) {
    SleepForCpu(NextSleepMs());
    if (stopping) break;
    sampler.Poll();
    if (!hotness.Look(sampler.queue())) continue;
    watching.store(false);
    if (!MustBeLeftAlone() && StartRealThread(&OpenAndRunRuntime)) return;
    break;
  }
  sampler.Stop();
}

void Watch() {
  WatchUntilHot();
  if (!stopping) watching.store(false);
}

}  // namespace

void StartWatcher(const Options& chosen) {
  options = &chosen;
  process_id = ProcessId();
  watching.store(true);
  StartHiddenThread(&Watch);
}

const TlRuntime* OpenedRuntime() { return forgotten.load() ? nullptr : opened.load(); }

void WatcherStats(TlSamplingStats* out) { sampler.Stats(out); }

const char* WhyLeftAlone() { return left_alone.load(); }

bool PauseWatcher() { return watching.load() && StopHiddenThread(&stopping) && watching.load(); }

void ResumeWatcher() {
  stopping = false;
  StartHiddenThread(&Watch);
}

void ForgetWatcher() {
  forgotten.store(true);
  if (const TlRuntime* table = opened.load()) table->in_child();
}

bool IsForgotten() { return forgotten.load(); }

}  // namespace tracelift::preload

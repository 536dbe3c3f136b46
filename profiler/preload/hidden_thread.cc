#include "profiler/preload/hidden_thread.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <cstring>

#include "profiler/preload/raw_syscalls.h"
#include "profiler/preload/signals.h"

namespace tracelift::preload {
namespace {

constexpr size_t kStackBytes = 128 * 1024;
alignas(64) char hidden_stack[kStackBytes];  // touched lazily

// First fields of the thread control block: fixed by the x86-64 ABI of the C library and its compilers.
struct ThreadControlBlock {
  void* tcb;
  void* dtv;
  void* self;
  int multiple_threads;
  int gscope_flag;
  uintptr_t sysinfo;
  uintptr_t stack_guard;
  uintptr_t pointer_guard;
};

std::atomic<int> hidden_tid{0};  // stays when the thread ends
char* hidden_tls = nullptr;
void (*hidden_run)() = nullptr;
void (*real_run)() = nullptr;

// The signal that ends the hidden thread's sleep. Nothing else uses it on x86 (it was for coprocessors).
constexpr int kWakeSignal = SIGSTKFLT;

ThreadControlBlock* OwnControlBlock() {
  ThreadControlBlock* block;
  __asm__("mov %%fs:0x10, %0" : "=r"(block));
  return block;
}

template <typename Function>
Function Symbol(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

/// Storage for one more thread, or null when this C library is not the one we know. Its parts for debuggers tell
/// where the thread id lies; the main thread's own block must agree.
char* MakeThreadStorage(int** tid) {
  auto* allocate = Symbol<void* (*)(void*)>("_dl_allocate_tls");
  const auto* tid_field = Symbol<const uint32_t*>("_thread_db_pthread_tid");  // {bits, elements, offset}
  if (!allocate || !tid_field || tid_field[0] != 32 || tid_field[2] > 4096) return nullptr;
  const ThreadControlBlock* own = OwnControlBlock();
  if (own->self != own || own->tcb != own) return nullptr;
  const uint32_t tid_offset = tid_field[2];
  if (*reinterpret_cast<const int*>(reinterpret_cast<const char*>(own) + tid_offset) != ThreadId()) return nullptr;

  auto* storage = static_cast<char*>(allocate(nullptr));
  if (!storage) return nullptr;
  auto* block = reinterpret_cast<ThreadControlBlock*>(storage);
  block->tcb = block;
  block->self = block;
  block->stack_guard = own->stack_guard;
  block->pointer_guard = own->pointer_guard;
  *tid = reinterpret_cast<int*>(storage + tid_offset);
  return storage;
}

int HiddenMain(void*) {
  hidden_tid.store(ThreadId());
  hidden_run();
  return 0;
}

void* RealMain(void*) {
  // A fault on this thread must reach our handler, and setuid() must reach all threads.
  SetSignalMask(kAllSignals & ~(SignalBit(SIGSEGV) | SignalBit(SIGBUS) | SignalBit(SIGFPE) | SignalBit(SIGILL) |
                                SignalBit(SIGTRAP) | SignalBit(SIGABRT) | SignalBit(32) | SignalBit(33)));
  real_run();
  return nullptr;
}

void OnWake(int) {}

}  // namespace

bool StartHiddenThread(void (*run)()) {
  hidden_run = run;
  static int* tid_field = nullptr;
  if (!hidden_tls) hidden_tls = MakeThreadStorage(&tid_field);
  if (!hidden_tls) return StartRealThread(run);
  const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                    CLONE_PARENT_SETTID;
  const uint64_t mask = SetSignalMask(kAllSignals & ~SignalBit(kWakeSignal));
  const int tid = clone(&HiddenMain, hidden_stack + kStackBytes, flags, nullptr, tid_field, hidden_tls);
  SetSignalMask(mask);
  if (tid > 0) hidden_tid.store(tid);
  return tid > 0;
}

bool StartRealThread(void (*run)()) {
  real_run = run;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 8u << 20);  // the runtime compiles on it; touched lazily
  const uint64_t mask = SetSignalMask(kAllSignals);
  pthread_t thread;
  const bool started = pthread_create(&thread, &attributes, &RealMain, nullptr) == 0;
  SetSignalMask(mask);
  pthread_attr_destroy(&attributes);
  return started;
}

void LeaveDescriptorTable(int keep) {
  const auto close_range = [](unsigned first, unsigned last, unsigned flags) {
    return first > last ? 0 : Syscall(SYS_close_range, first, last, flags);
  };
  constexpr unsigned kLast = ~0u;
  if (keep >= 0 && Syscall(SYS_unshare, CLONE_FILES) == 0) {
    if (keep > 0) close_range(0, static_cast<unsigned>(keep) - 1, 0);
    if (close_range(static_cast<unsigned>(keep) + 1, kLast, 0) == 0) return;
  } else if (close_range(0, kLast, CLOSE_RANGE_UNSHARE) == 0) {
    return;
  }
  // Before Linux 5.9.
  if (Syscall(SYS_unshare, CLONE_FILES) != 0) return;
  for (int fd = 0; fd < 4096; ++fd) {
    if (fd != keep) CloseFile(fd);
  }
}

bool StopHiddenThread(volatile bool* stopping) {
  const int tid = hidden_tid.load();
  if (tid == 0) return false;
  *stopping = true;
  struct sigaction wake {};
  struct sigaction before {};
  wake.sa_handler = &OnWake;
  RealSigaction(kWakeSignal, &wake, &before);
  const int pid = ProcessId();
  const timespec pause{0, 200'000};
  while (Syscall(SYS_tgkill, pid, tid, kWakeSignal) == 0) Syscall(SYS_nanosleep, AsLong(&pause), 0);
  Syscall(SYS_nanosleep, AsLong(&pause), 0);  // the kernel drops its last references just after the thread's number
  RealSigaction(kWakeSignal, &before, nullptr);
  return true;
}

bool IsHiddenThread(int tid) { return tid == hidden_tid.load(std::memory_order_relaxed); }

int ExcludeFromThreadCount(int count) {
  static int* const threads = Symbol<int*>("__nptl_nthreads");
  return threads ? __atomic_sub_fetch(threads, count, __ATOMIC_SEQ_CST) : -1;
}

}  // namespace tracelift::preload

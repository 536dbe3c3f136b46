#include "profiler/preload/signals.h"

#include <dlfcn.h>
#include <errno.h>
#include <ucontext.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "profiler/preload/forwards.h"
#include "profiler/preload/raw_syscalls.h"
#include "profiler/preload/task_list.h"
#include "profiler/preload/timer_source.h"

namespace tracelift::preload {
namespace {

constexpr int kOurs[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr int kOurCount = sizeof(kOurs) / sizeof(kOurs[0]);
constexpr int kRestorerFlag = 0x04000000;  // SA_RESTORER: the C library sets it, the kernel gives it back

// What the program asked for. Written under `writing`, with all signals blocked; read without a lock by the handler,
// which repeats while `version` is odd or moves.
struct Disposition {
  std::atomic<uint32_t> version{0};
  struct sigaction action = {};
};
constinit Disposition dispositions[kOurCount];
std::atomic_flag writing = ATOMIC_FLAG_INIT;
std::atomic<const TlRuntime*> runtime{nullptr};  // set once: the handlers are in place
std::atomic<int> owner{0};  // the process that the dispositions are of: not a vfork child that shares our memory

int IndexOf(int signo) {
  for (int i = 0; i < kOurCount; ++i) {
    if (kOurs[i] == signo) return i;
  }
  return -1;
}

class WriteLock {
 public:
  WriteLock() : mask_(SetSignalMask(kAllSignals)) {
    while (writing.test_and_set(std::memory_order_acquire)) __builtin_ia32_pause();
  }
  ~WriteLock() {
    writing.clear(std::memory_order_release);
    SetSignalMask(mask_);
  }

 private:
  uint64_t mask_;
};

void Write(Disposition* disposition, const struct sigaction& action) {
  const uint32_t version = disposition->version.load(std::memory_order_relaxed);
  disposition->version.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  disposition->action = action;
  disposition->version.store(version + 2, std::memory_order_release);
}

struct sigaction Read(const Disposition& disposition) {
  for (;;) {
    const uint32_t before = disposition.version.load(std::memory_order_acquire);
    struct sigaction action = disposition.action;
    std::atomic_thread_fence(std::memory_order_acquire);
    if ((before & 1) == 0 && disposition.version.load(std::memory_order_relaxed) == before) return action;
    __builtin_ia32_pause();
  }
}

bool IsHandler(const struct sigaction& action) {
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

bool BySystem(const siginfo_t& info) { return info.si_code > 0; }  // a fault or a trap, not kill() or raise()

void SendAgain(int signo, siginfo_t* info, int tid) {
  Syscall(SYS_rt_tgsigqueueinfo, ProcessId(), tid, signo, AsLong(info));
}

// The default action, with the exit status and the core file that it has natively: our handler goes away and the
// signal comes again, now or, while it is blocked here, on return to the interrupted code.
void TakeDefaultAction(int signo, siginfo_t* info) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  RealSigaction(signo, &action, nullptr);
  SendAgain(signo, info, ThreadId());
}

void OnSignal(int signo, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const TlRuntime* table = runtime.load(std::memory_order_acquire);
  greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (table->owns_thread()) {
    const bool raised_here = info->si_code == SI_TKILL && info->si_pid == ProcessId();
    if (BySystem(*info) || raised_here) table->on_own_fault(signo, static_cast<uint64_t>(registers[REG_RIP]));
    SendAgain(signo, info, ProcessId());  // meant for the program: its main thread
    errno = saved_errno;
    return;
  }
  if (signo == SIGTRAP && BySystem(*info)) {
    if (const uint64_t resume = table->handle_trap(static_cast<uint64_t>(registers[REG_RIP]))) {
      registers[REG_RIP] = static_cast<greg_t>(resume);
      errno = saved_errno;
      return;
    }
  }
  if (signo != SIGTRAP && BySystem(*info)) {  // the handler may look where it was, or throw from there; it comes back all the same
    if (const uint64_t place = table->place_of(static_cast<uint64_t>(registers[REG_RIP]))) {
      registers[REG_RIP] = static_cast<greg_t>(place);
    }
  }
  Disposition& disposition = dispositions[IndexOf(signo)];
  const struct sigaction action = Read(disposition);
  if (action.sa_handler == SIG_IGN && !BySystem(*info)) {
    errno = saved_errno;
    return;
  }
  if (!IsHandler(action)) {
    TakeDefaultAction(signo, info);
    errno = saved_errno;
    return;
  }
  if (action.sa_flags & SA_RESETHAND) {
    const WriteLock lock;
    struct sigaction reset = disposition.action;
    reset.sa_handler = SIG_DFL;
    Write(&disposition, reset);
  }
  errno = saved_errno;
  // A handler without SA_SIGINFO takes the first argument only; on x86-64 the others do no harm.
  action.sa_sigaction(signo, info, context);
}

/// What the kernel gets for the program's action: our handler, with the program's flags and mask.
struct sigaction ForKernel(int signo, const struct sigaction& action) {
  struct sigaction ours {};
  // Ignored faults kill all the same, and a program that is executed inherits what is ignored. Only traps are needed.
  if (action.sa_handler == SIG_IGN && signo != SIGTRAP) {
    ours = action;
    return ours;
  }
  ours.sa_sigaction = &OnSignal;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  if (IsHandler(action)) {
    ours.sa_flags = (action.sa_flags & ~SA_RESETHAND & ~kRestorerFlag) | SA_SIGINFO;
    ours.sa_mask = action.sa_mask;
    sigdelset(&ours.sa_mask, SIGTRAP);
  }
  return ours;
}

// Returns 0, or -1 with errno.
int SetVirtual(int signo, const struct sigaction* action, struct sigaction* old) {
  Disposition& disposition = dispositions[IndexOf(signo)];
  const WriteLock lock;
  const struct sigaction before = disposition.action;
  if (action) {
    struct sigaction wanted = *action;
    wanted.sa_flags |= kRestorerFlag;
    wanted.sa_restorer = before.sa_restorer;
    const struct sigaction ours = ForKernel(signo, wanted);
    // First what our handler will read, then the kernel's flags that go with it.
    Write(&disposition, wanted);
    if (RealSigaction(signo, &ours, nullptr) != 0) {
      Write(&disposition, before);
      return -1;
    }
  }
  if (old) *old = before;
  return 0;
}

bool IsVirtual(int signo) {
  return runtime.load(std::memory_order_acquire) != nullptr && IndexOf(signo) >= 0 && owner.load() == ProcessId();
}

/// For a vfork child, whose dispositions are the kernel's: what the program set, where the kernel says that we did.
void ShowVirtual(int signo, struct sigaction* old) {
  if (old && old->sa_sigaction == &OnSignal && IndexOf(signo) >= 0) *old = Read(dispositions[IndexOf(signo)]);
}

struct BlockedSearch {
  bool found = false;
};

void LookForBlockedTrap(int tid, void* context) {
  char path[64];
  char text[4096];
  snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
  if (ReadSmallFile(path, text, sizeof(text)) <= 0) return;
  const char* line = strstr(text, "\nSigBlk:");
  if (!line || !(strtoull(line + 8, nullptr, 16) & SignalBit(SIGTRAP))) return;
  if (!IsOwnThread(tid)) static_cast<BlockedSearch*>(context)->found = true;
}

}  // namespace

int RealSigaction(int signo, const struct sigaction* action, struct sigaction* old) {
  return Forwards().sigaction(signo, action, old);
}

void InstallHandlers(const TlRuntime* table) {
  const WriteLock lock;
  if (runtime.load()) return;
  for (int i = 0; i < kOurCount; ++i) {
    struct sigaction action {};
    if (RealSigaction(kOurs[i], nullptr, &action) == 0) Write(&dispositions[i], action);
  }
  owner.store(ProcessId());
  runtime.store(table, std::memory_order_release);
  for (int i = 0; i < kOurCount; ++i) {
    const struct sigaction ours = ForKernel(kOurs[i], dispositions[i].action);
    RealSigaction(kOurs[i], &ours, nullptr);
  }
}

void KeepHandlersInChild() {
  // Another thread may have been writing, and was not forked: nobody will finish for it.
  for (Disposition& disposition : dispositions) {
    if (disposition.version.load() & 1) disposition.version.fetch_add(1);
  }
  writing.clear();
  owner.store(ProcessId());
}

int SigtrapUsable() {
  if (!runtime.load()) return 0;
  BlockedSearch search;
  return ForEachThread(&LookForBlockedTrap, &search) && !search.found ? 1 : 0;
}

}  // namespace tracelift::preload

// The functions that the program calls instead of the C library's.

using tracelift::preload::Forwards;
using tracelift::preload::IsVirtual;
using tracelift::preload::SetVirtual;
using tracelift::preload::ShowVirtual;

namespace {

/// Traps of ours must reach us on every thread.
const sigset_t* WithoutTrap(int how, const sigset_t* set, sigset_t* copy) {
  if (!set || how == SIG_UNBLOCK || !IsVirtual(SIGTRAP) || sigismember(set, SIGTRAP) != 1) return set;
  *copy = *set;
  sigdelset(copy, SIGTRAP);
  return copy;
}

sighandler_t SetHandler(int signo, sighandler_t handler, int flags, bool mask_itself) {
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  if (mask_itself) sigaddset(&action.sa_mask, signo);
  return SetVirtual(signo, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

void GiveUpTimerSignal(int signo) {
  if (signo != 0 && signo == tracelift::preload::TimerSignal()) tracelift::preload::ReleaseTimerSignal();
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int sigaction(int signo, const struct sigaction* action, struct sigaction* old) {
  if (action) GiveUpTimerSignal(signo);
  if (IsVirtual(signo)) return SetVirtual(signo, action, old);
  const int result = Forwards().sigaction(signo, action, old);
  if (result == 0) ShowVirtual(signo, old);
  return result;
}

sighandler_t signal(int signo, sighandler_t handler) {
  GiveUpTimerSignal(signo);
  return IsVirtual(signo) && handler != SIG_ERR ? SetHandler(signo, handler, SA_RESTART, true)
                                                : Forwards().signal(signo, handler);
}

sighandler_t bsd_signal(int signo, sighandler_t handler) { return signal(signo, handler); }
sighandler_t ssignal(int signo, sighandler_t handler) { return signal(signo, handler); }

sighandler_t __sysv_signal(int signo, sighandler_t handler) {
  GiveUpTimerSignal(signo);
  constexpr int kFlags = static_cast<int>(SA_RESETHAND) | SA_NODEFER;
  return IsVirtual(signo) && handler != SIG_ERR ? SetHandler(signo, handler, kFlags, false)
                                                : Forwards().sysv_signal(signo, handler);
}

sighandler_t sysv_signal(int signo, sighandler_t handler) { return __sysv_signal(signo, handler); }

int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) {
  sigset_t copy;
  return Forwards().pthread_sigmask(how, WithoutTrap(how, set, &copy), old);
}

int sigprocmask(int how, const sigset_t* set, sigset_t* old) {
  sigset_t copy;
  return Forwards().sigprocmask(how, WithoutTrap(how, set, &copy), old);
}

}  // extern "C"
#pragma GCC visibility pop

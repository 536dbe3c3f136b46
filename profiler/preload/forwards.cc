#include "profiler/preload/forwards.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "profiler/preload/raw_syscalls.h"
#include "profiler/preload/signals.h"

namespace tracelift::preload {
namespace {

struct KernelAction {
  void* handler;
  unsigned long flags;
  void (*restorer)();
  uint64_t mask;
};
constexpr unsigned long kRestorerFlag = 0x04000000;

__asm__(
    ".pushsection .text\n.type tracelift_sigreturn,@function\ntracelift_sigreturn:\n  mov $15, %rax\n  syscall\n"
    ".popsection\n");
extern "C" __attribute__((visibility("hidden"))) void tracelift_sigreturn();

int Result(long result) {
  if (result >= 0) return static_cast<int>(result);
  errno = static_cast<int>(-result);
  return -1;
}

int EarlySigaction(int signo, const struct sigaction* action, struct sigaction* old) {
  KernelAction kernel{};
  KernelAction kernel_old{};
  if (action) {
    kernel.handler = reinterpret_cast<void*>(action->sa_handler);
    kernel.flags = static_cast<unsigned long>(action->sa_flags) | kRestorerFlag;
    kernel.restorer = &tracelift_sigreturn;
    kernel.mask = action->sa_mask.__val[0];
  }
  const long result = Syscall(SYS_rt_sigaction, signo, action ? AsLong(&kernel) : 0, AsLong(&kernel_old), 8);
  if (result == 0 && old) {
    *old = {};
    old->sa_handler = reinterpret_cast<sighandler_t>(kernel_old.handler);
    old->sa_flags = static_cast<int>(kernel_old.flags);
    old->sa_restorer = kernel_old.restorer;
    old->sa_mask.__val[0] = kernel_old.mask;
  }
  return Result(result);
}

sighandler_t EarlySignalWith(int signo, sighandler_t handler, int flags) {
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  return EarlySigaction(signo, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}
sighandler_t EarlySignal(int signo, sighandler_t handler) { return EarlySignalWith(signo, handler, SA_RESTART); }
sighandler_t EarlySysvSignal(int signo, sighandler_t handler) {
  return EarlySignalWith(signo, handler, static_cast<int>(SA_RESETHAND) | SA_NODEFER);
}

int EarlySigprocmask(int how, const sigset_t* set, sigset_t* old) {
  return Result(Syscall(SYS_rt_sigprocmask, how, AsLong(set), AsLong(old), 8));
}
int EarlyPthreadSigmask(int how, const sigset_t* set, sigset_t* old) {
  return static_cast<int>(-Syscall(SYS_rt_sigprocmask, how, AsLong(set), AsLong(old), 8));
}
int EarlyUnshare(int flags) { return Result(Syscall(SYS_unshare, flags)); }
int EarlySetns(int fd, int type) { return Result(Syscall(SYS_setns, fd, type)); }
void* EarlyMremap(void* old_address, size_t old_bytes, size_t bytes, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const long moved = Syscall(SYS_mremap, AsLong(old_address), static_cast<long>(old_bytes), static_cast<long>(bytes), flags, AsLong(va_arg(arguments, void*)));
  va_end(arguments);
  if (moved >= 0 || moved < -4095) return reinterpret_cast<void*>(moved);
  errno = static_cast<int>(-moved);
  return MAP_FAILED;
}
void EarlyExit(int status) {
  for (;;) Syscall(SYS_exit_group, status);
}

ForwardTable forwards = {
    .sigaction = &EarlySigaction,
    .signal = &EarlySignal,
    .sysv_signal = &EarlySysvSignal,
    .pthread_sigmask = &EarlyPthreadSigmask,
    .sigprocmask = &EarlySigprocmask,
    .unshare = &EarlyUnshare,
    .setns = &EarlySetns,
    .mremap = &EarlyMremap,
    .exit_now = &EarlyExit,
};

template <typename Function>
void Resolve(const char* name, Function* function) {
  if (void* next = dlsym(RTLD_NEXT, name)) *function = reinterpret_cast<Function>(next);
}

}  // namespace

const ForwardTable& Forwards() { return forwards; }

void ResolveForwards() {
  Resolve("sigaction", &forwards.sigaction);
  Resolve("signal", &forwards.signal);
  Resolve("__sysv_signal", &forwards.sysv_signal);
  Resolve("pthread_sigmask", &forwards.pthread_sigmask);
  Resolve("sigprocmask", &forwards.sigprocmask);
  Resolve("unshare", &forwards.unshare);
  Resolve("setns", &forwards.setns);
  Resolve("mremap", &forwards.mremap);
  Resolve("_exit", &forwards.exit_now);
}

}  // namespace tracelift::preload

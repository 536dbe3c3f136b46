// The door between the preload library and the runtime.

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "jit/compiler.h"
#include "offload/runtime/session.h"
#include "profiler/preload_api.h"

namespace {

using tracelift::offload::Session;

std::atomic<Session*> session{nullptr};
std::atomic<long> watcher{0};

long ThreadId() { return syscall(SYS_gettid); }

[[noreturn]] void Park() {
  for (;;) pause();
}

// LLVM met something it cannot recover from. The thread may hold LLVM's own locks, but none of the program's.
void OnFatalError(const char*) {
  if (Session* s = session.load()) s->TurnOff("LLVM reported a fatal error");
  Park();
}

void RunSession(const TlHost* host) {
  if (host->version != TL_PRELOAD_API_VERSION) return;
  watcher.store(ThreadId());
  tracelift::jit::SetFatalErrorHandler(&OnFatalError);
  auto* s = new Session(host);
  session.store(s);
  try {
    s->Run();
  } catch (...) {
    s->TurnOff("an internal error");
  }
}

void AtExit() {
  if (Session* s = session.load()) {
    try {
      s->AtExit();
    } catch (...) {
      // Without a report then: the program's exit is none of our business.
    }
  }
}

void InChild() {
  if (Session* s = session.load()) s->InChild();
}

uint64_t HandleTrap(uint64_t rip) {
  const Session* s = session.load();
  return s ? s->HandleTrap(rip) : 0;
}

uint64_t PlaceOf(uint64_t rip) {
  const Session* s = session.load();
  return s ? s->PlaceOf(rip) : 0;
}

void ReleasePages(uint64_t begin, uint64_t bytes) {
  if (const Session* s = session.load()) s->ReleasePages(begin, bytes);
}

int OwnsThread() { return ThreadId() == watcher.load(); }

void OnOwnFault(int, uint64_t) {
  if (Session* s = session.load()) s->TurnOff("a fault on the compiling thread");
  Park();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const TlRuntime tracelift_runtime_table = {
    .version = TL_PRELOAD_API_VERSION,
    .run = &RunSession,
    .at_exit = &AtExit,
    .in_child = &InChild,
    .handle_trap = &HandleTrap,
    .place_of = &PlaceOf,
    .owns_thread = &OwnsThread,
    .release_pages = &ReleasePages,
    .on_own_fault = &OnOwnFault,
};

// Destructors of statically linked code (LLVM's among them) would run at exit while our thread may still compile.
// Registered here, in the library's own hidden __cxa_atexit, they are forgotten: the process ends anyway.
extern "C" __attribute__((visibility("hidden"))) int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }

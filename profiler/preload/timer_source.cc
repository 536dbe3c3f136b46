#include "profiler/preload/timer_source.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include <atomic>
#include <cstring>

#include "profiler/preload/raw_syscalls.h"
#include "profiler/preload/signals.h"

namespace tracelift::preload {
namespace {

constexpr uint64_t kEntries = 8192;

// `turn` is written last: it holds the entry's number + 1 when the other fields belong to it.
struct Entry {
  std::atomic<uint64_t> turn{0};
  uint64_t ip = 0, time_ns = 0;
  uint32_t tid = 0;
};
constinit Entry entries[kEntries];  // no code at start touches its pages
std::atomic<uint64_t> written{0};
uint64_t read_to = 0;

constexpr int kGivenUp = -1;
std::atomic<int> claimed{0};
constexpr int kMostTimers = 512;
std::atomic<int> timers[kMostTimers];  // the kernel's id + 1; 0 where there is none

void OnTimer(int, siginfo_t* info, void* context) {
  if (info->si_code != SI_TIMER) return;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);  // vdso: no system call, no errno
  const uint64_t number = written.fetch_add(1, std::memory_order_relaxed);
  Entry& entry = entries[number % kEntries];
  entry.turn.store(0, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  entry.ip = static_cast<uint64_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  entry.time_ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
  entry.tid = static_cast<uint32_t>(info->si_value.sival_int);
  entry.turn.store(number + 1, std::memory_order_release);
}

// The kernel's sigevent with SIGEV_THREAD_ID.
struct ThreadEvent {
  int value;
  int value_high;
  int signo;
  int notify;
  int tid;
  char padding[64 - 20];
};

}  // namespace

int ClaimTimerSignal() {
  if (const int signo = claimed.load(); signo != 0) return signo > 0 ? signo : 0;
  for (int signo = SIGRTMAX; signo > SIGRTMIN; --signo) {
    struct sigaction action {};
    if (RealSigaction(signo, nullptr, &action) != 0 || (action.sa_flags & SA_SIGINFO) != 0 ||
        action.sa_handler != SIG_DFL) {
      continue;
    }
    action = {};
    action.sa_sigaction = &OnTimer;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    if (RealSigaction(signo, &action, nullptr) != 0) continue;
    claimed.store(signo);
    return signo;
  }
  return 0;
}

int TimerSignal() {
  const int signo = claimed.load(std::memory_order_relaxed);
  return signo > 0 ? signo : 0;
}

void ReleaseTimerSignal() {
  claimed.store(kGivenUp);
  for (std::atomic<int>& timer : timers) {
    if (const int id = timer.exchange(0); id != 0) Syscall(SYS_timer_delete, id - 1);
  }
}

int StartThreadTimer(int tid, int hz, int* timer) {
  const int signo = claimed.load();
  if (signo <= 0) return -EPERM;
  ThreadEvent event{};
  event.value = tid;
  event.signo = signo;
  event.notify = SIGEV_THREAD_ID;
  event.tid = tid;
  constexpr int kThreadCpuClock = 4 | 2;  // per thread, scheduler time (the kernel's MAKE_THREAD_CPUCLOCK)
  const int clock = static_cast<int>((~static_cast<unsigned>(tid)) << 3 | kThreadCpuClock);
  int id = 0;
  const long created = Syscall(SYS_timer_create, clock, AsLong(&event), AsLong(&id));
  if (created < 0) return static_cast<int>(created);
  const long period_ns = 1'000'000'000L / hz;
  itimerspec when{};
  when.it_interval.tv_sec = period_ns / 1'000'000'000L;
  when.it_interval.tv_nsec = period_ns % 1'000'000'000L;
  when.it_value = when.it_interval;
  const long set = Syscall(SYS_timer_settime, id, 0, AsLong(&when), 0);
  if (set < 0) {
    Syscall(SYS_timer_delete, id);
    return static_cast<int>(set);
  }
  for (int i = 0; i < kMostTimers; ++i) {
    int none = 0;
    if (!timers[i].compare_exchange_strong(none, id + 1)) continue;
    *timer = i + 1;
    if (claimed.load() != kGivenUp) return 0;
    StopThreadTimer(i + 1);  // given up between our look and now
    return -EPERM;
  }
  Syscall(SYS_timer_delete, id);
  return -EAGAIN;
}

void StopThreadTimer(int timer) {
  if (const int id = timers[timer - 1].exchange(0); id != 0) Syscall(SYS_timer_delete, id - 1);
}

void DrainTimerRing(SampleQueue* queue, uint64_t* lost) {
  const uint64_t end = written.load(std::memory_order_acquire);
  if (end - read_to > kEntries) {
    *lost += end - kEntries - read_to;
    read_to = end - kEntries;
  }
  for (; read_to < end; ++read_to) {
    const Entry& entry = entries[read_to % kEntries];
    const uint64_t turn = entry.turn.load(std::memory_order_acquire);
    if (turn < read_to + 1) return;  // its handler is still at work: next time
    const TlSample sample{.ip = entry.ip, .time_ns = entry.time_ns, .tid = entry.tid, .user = 1};
    std::atomic_thread_fence(std::memory_order_acquire);
    if (turn == read_to + 1 && entry.turn.load(std::memory_order_relaxed) == turn) {
      queue->Push(sample);
    } else {
      ++*lost;  // overwritten meanwhile
    }
  }
}

}  // namespace tracelift::preload

/* Many loops and threads in a storm of signals: storm THREADS ROUNDS. Some loops are worth taking over and some are
 * not: they are patched, measured, rest, and are patched again for as long as the program runs. Every thread has a
 * timer; its handler, on a stack of its own, runs the same loops on data of its own. Every third thread blocks SIGTRAP.
 * Each thread checks each of its own results against the sum of the first round, and so does each handler. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

enum { kLoops = 8, kLargest = 1 << 14, kMostThreads = 64, kHandlerCount = 64, kStackBytes = 1 << 18 };

__attribute__((noinline)) static void scale(double* o, const double* a, long n, double f) {
  for (long i = 0; i < n; ++i) o[i] = blend(a[i], f);
}
__attribute__((noinline)) static void shift(double* o, const double* a, long n, double f) {
  for (long i = 0; i < n; ++i) o[i] = a[i] + f;
}
__attribute__((noinline)) static void square(double* o, const double* a, long n, double f) {
  for (long i = 0; i < n; ++i) o[i] = a[i] * a[i] - f;
}
__attribute__((noinline)) static void divide(double* o, const double* a, long n, double f) {
  for (long i = 0; i < n; ++i) o[i] = f / (a[i] + 1.0);
}
__attribute__((noinline)) static void strided(double* o, const double* a, long n, double f) {
  for (long i = 0; i < n / 4; ++i) o[i * 4] = blend(a[i * 2], f) * 0.5;
}
__attribute__((noinline)) static void bits(double* o, const double* a, long n, double f) {
  uint64_t* to = (uint64_t*)o;
  const uint64_t* from = (const uint64_t*)a;
  const uint64_t key = (uint64_t)(f * 1000.0);
  for (long i = 0; i < n; ++i) to[i] = (from[i] ^ key) * 0x9e3779b97f4a7c15ull;
}
__attribute__((noinline)) static void nested(double* o, const double* a, long n, double f) {
  for (long r = 0; r + 32 <= n; r += 32) {
    for (long c = 0; c < 32; ++c) o[r + c] = a[r + c] * f + a[r + 31 - c];
  }
}
/* Each pass needs the one before: never taken over. */
__attribute__((noinline)) static void carried(double* o, const double* a, long n, double f) {
  double sum = 0;
  for (long i = 0; i < n; ++i) o[i] = sum = sum * 0.5 + a[i] * f;
}

typedef void (*loop_function)(double*, const double*, long, double);
static loop_function const kFunctions[kLoops] = {scale, shift, square, divide, strided, bits, nested, carried};

struct worker {
  pthread_t thread;
  int number;
  long rounds;
  uint64_t result, wrong;
};

static __thread struct {
  double in[kHandlerCount], out[kHandlerCount];
  uint64_t sums[kLoops];
  unsigned ticks;
  unsigned long wrong;
} in_handler;

static uint64_t handler_sum(int loop) {
  memset(in_handler.out, 0, sizeof(in_handler.out));
  kFunctions[loop](in_handler.out, in_handler.in, kHandlerCount, 1.25);
  return checksum(in_handler.out, sizeof(in_handler.out));
}

static void on_tick(int number) {
  (void)number;
  const int loop = (int)(in_handler.ticks++ % kLoops);
  if (handler_sum(loop) != in_handler.sums[loop]) ++in_handler.wrong;
}

static timer_t start_timer(void) {
  struct sigevent event;
  memset(&event, 0, sizeof(event));
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGALRM;
  event._sigev_un._tid = (int)syscall(SYS_gettid);
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) exit(97);
  const struct itimerspec period = {{0, 500000}, {0, 500000}};
  timer_settime(timer, 0, &period, 0);
  return timer;
}

static void* run(void* argument) {
  struct worker* worker = argument;
  const stack_t stack = {allocate(kStackBytes), 0, kStackBytes};
  sigaltstack(&stack, 0);
  if (worker->number % 3 == 2) {
    sigset_t traps;
    sigemptyset(&traps);
    sigaddset(&traps, SIGTRAP);
    pthread_sigmask(SIG_BLOCK, &traps, 0);
  }
  for (int i = 0; i < kHandlerCount; ++i) in_handler.in[i] = i * 0.75 + worker->number;
  for (int loop = 0; loop < kLoops; ++loop) {
    in_handler.sums[loop] = handler_sum(loop);
    worker->result = worker->result * 31 + in_handler.sums[loop];
  }

  double* in = allocate(kLargest * 8);
  double* out = allocate(kLargest * 8);
  for (long i = 0; i < kLargest; ++i) in[i] = (double)((i * 2654435761u + (unsigned)worker->number) % 100003) * 0.125;
  /* From not worth it to well worth it. */
  static const long kSizes[] = {24, 1 << 14, 200, 1 << 13, 1000, 64, 1 << 12, 3000};
  uint64_t first[kLoops][8];
  memset(first, 0, sizeof(first));
  timer_t timer = start_timer();
  for (long r = 0; r < worker->rounds; ++r) {
    for (int loop = 0; loop < kLoops; ++loop) {
      /* Sizes stay for a while, or nothing would be worth compiling. */
      const int size = (int)((r / 32 + loop + worker->number) % 8);
      const long n = kSizes[size];
      memset(out, 0, (size_t)n * 8);
      kFunctions[loop](out, in, n, 1.5);
      const uint64_t sum = checksum(out, (size_t)n * 8);
      if (first[loop][size] == 0) first[loop][size] = sum;
      if (sum != first[loop][size]) ++worker->wrong;
      worker->result = worker->result * 31 + sum;
    }
  }
  timer_delete(timer);
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, 0);
  worker->wrong += in_handler.wrong;
  const stack_t none = {0, SS_DISABLE, 0};
  sigaltstack(&none, 0);
  free(stack.ss_sp);
  free(in);
  free(out);
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int count = atoi(argv[1]);
  if (count > kMostThreads) return 2;
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_handler = on_tick;
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  sigaction(SIGALRM, &action, 0);
  static struct worker workers[kMostThreads];
  for (int t = 0; t < count; ++t) {
    workers[t].number = t;
    workers[t].rounds = atol(argv[2]);
    if (pthread_create(&workers[t].thread, 0, run, &workers[t]) != 0) return 99;
  }
  uint64_t wrong = 0;
  for (int t = 0; t < count; ++t) {
    pthread_join(workers[t].thread, 0);
    wrong += workers[t].wrong;
    printf("%d %016llx\n", t, (unsigned long long)workers[t].result);
  }
  printf("%llu wrong\n", (unsigned long long)wrong);
  return wrong != 0;
}

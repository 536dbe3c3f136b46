/* Threads that are not like others, each in the hot loop: odd_threads WHAT REPETITIONS.
 *   cancelled     a thread is cancelled inside the loop, its clean-up handlers run; asynchronously and at a point
 *   blocked       all signals blocked in every thread before the loop is hot
 *   blocked-raw   the same, by the system call itself
 *   small         threads with stacks of 64 KiB, most of it in use
 *   detached      threads that nobody waits for, ending in the loop's process while others work
 *   exits         the main thread ends by pthread_exit while others work */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support.h"

enum { kCount = 1 << 15, kThreads = 4 };

static long repetitions;
static sem_t ended;

__attribute__((noinline)) static void work(double* out, const double* in, long n, double factor) {
  for (long i = 0; i < n; ++i) out[i] = blend(in[i], factor);
}

struct memory {
  double* in;
  double* out;
};

static struct memory make_memory(uint64_t seed) {
  struct memory m = {allocate(kCount * 8), allocate(kCount * 8)};
  for (long i = 0; i < kCount; ++i) {
    m.in[i] = (double)((seed + (uint64_t)i) * 6364136223846793005u >> 40);
    m.out[i] = 0;
  }
  return m;
}

static uint64_t hot(const struct memory* m, long rounds) {
  for (long r = 0; r < rounds; ++r) work(m->out, m->in, kCount, 1.0 + (double)(r % 11));
  return checksum(m->out, kCount * 8);
}

static void clean_up(void* argument) {
  ++*(volatile int*)argument;
}

struct endless {
  struct memory memory;
  int asynchronous;
  int cleaned;
  volatile int started;
};

static void* work_for_ever(void* argument) {
  struct endless* e = argument;
  pthread_setcanceltype(e->asynchronous ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED, 0);
  pthread_cleanup_push(clean_up, &e->cleaned);
  for (;;) {
    work(e->memory.out, e->memory.in, kCount, 3.0);
    e->started = 1;
    pthread_testcancel();
  }
  pthread_cleanup_pop(1);
  return 0;
}

/* The loop is hot from the main thread's work; in some rounds the thread is inside of what replaced it. */
static int cancelled(void) {
  struct memory own = make_memory(1);
  for (int round = 0; round < 40; ++round) {
    struct endless e = {make_memory(7), round & 1, 0, 0};
    pthread_t thread;
    if (pthread_create(&thread, 0, work_for_ever, &e) != 0) return 99;
    printf("%d %016llx\n", round, (unsigned long long)hot(&own, repetitions / 40 + 1));
    while (!e.started) sched_yield();
    pthread_cancel(thread);
    void* result = 0;
    pthread_join(thread, &result);
    printf("cancelled %d, cleaned %d\n", result == PTHREAD_CANCELED, e.cleaned);
    hot(&e.memory, 1);
    print_checksum("after", e.memory.out, kCount * 8);
    free(e.memory.in);
    free(e.memory.out);
  }
  return 0;
}

static void print_blocked(const char* when) {
  uint64_t mask = 0;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, &mask, 8);
  /* SIGTRAP aside: a debugger's own signal, which may be kept open. */
  printf("%s %016llx\n", when, (unsigned long long)(mask & ~(1ull << (SIGTRAP - 1))));
}

static void* work_blocked(void* argument) {
  const struct memory m = make_memory((uint64_t)(uintptr_t)argument);
  return (void*)(uintptr_t)hot(&m, repetitions);
}

static int blocked(int raw) {
  if (raw) {
    const uint64_t all = ~0ull;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, 0, 8);
  } else {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, 0);
  }
  print_blocked("before");
  pthread_t threads[kThreads];
  for (uintptr_t t = 0; t < kThreads; ++t) {
    if (pthread_create(&threads[t], 0, work_blocked, (void*)(t + 1)) != 0) return 99;
  }
  raise(SIGUSR1); /* stays pending */
  for (int t = 0; t < kThreads; ++t) {
    void* result = 0;
    pthread_join(threads[t], &result);
    printf("%d %016llx\n", t, (unsigned long long)(uintptr_t)result);
  }
  const struct memory m = make_memory(99);
  printf("main %016llx\n", (unsigned long long)hot(&m, repetitions));
  print_blocked("after");
  sigset_t pending;
  sigpending(&pending);
  printf("pending %d\n", sigismember(&pending, SIGUSR1));
  return 0;
}

/* Leaves about 8 KiB of the stack. */
__attribute__((noinline)) static uint64_t hot_deep(const struct memory* m, long bytes) {
  char room[4096];
  memset(room, (int)bytes, sizeof(room));
  __asm__ volatile("" : : "r"(room) : "memory");
  const uint64_t result = bytes > 0 ? hot_deep(m, bytes - 4096) : hot(m, repetitions / 4);
  __asm__ volatile("" : : "r"(room) : "memory");
  return result + (uint64_t)(room[17] - room[4000]);
}

static void* work_small(void* argument) {
  const struct memory m = make_memory((uint64_t)(uintptr_t)argument);
  return (void*)(uintptr_t)hot_deep(&m, 36 * 1024);
}

static int small(void) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 * 1024);
  for (int generation = 0; generation < 4; ++generation) {
    pthread_t threads[kThreads];
    for (uintptr_t t = 0; t < kThreads; ++t) {
      if (pthread_create(&threads[t], &attributes, work_small, (void*)(t + 1)) != 0) return 99;
    }
    for (int t = 0; t < kThreads; ++t) {
      void* result = 0;
      pthread_join(threads[t], &result);
      printf("%d %016llx\n", t, (unsigned long long)(uintptr_t)result);
    }
  }
  return 0;
}

static void* work_detached(void* argument) {
  static uint64_t sums[16];
  const uintptr_t index = (uintptr_t)argument;
  const struct memory m = make_memory(5);
  sums[index % 16] = hot(&m, repetitions / 8);
  if (sums[index % 16] != sums[0] && index % 16 != 0 && sums[0] != 0) puts("different");
  sem_post(&ended);
  return 0;
}

static int detached(int exits) {
  enum { kStarted = 12 };
  sem_init(&ended, 0, 0);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  for (uintptr_t t = 0; t < kStarted; ++t) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, work_detached, (void*)t) != 0) return 99;
  }
  const struct memory m = make_memory(3);
  printf("main %016llx\n", (unsigned long long)hot(&m, repetitions));
  fflush(stdout);
  if (exits) pthread_exit(0);
  for (int t = 0; t < kStarted; ++t) sem_wait(&ended);
  puts("all ended");
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const char* what = argv[1];
  repetitions = atol(argv[2]);
  if (strcmp(what, "cancelled") == 0) return cancelled();
  if (strcmp(what, "blocked") == 0) return blocked(0);
  if (strcmp(what, "blocked-raw") == 0) return blocked(1);
  if (strcmp(what, "small") == 0) return small();
  if (strcmp(what, "detached") == 0) return detached(0);
  if (strcmp(what, "exits") == 0) return detached(1);
  if (strcmp(what, "main") == 0) {
    const struct memory m = make_memory(3);
    printf("main %016llx\n", (unsigned long long)hot(&m, repetitions));
    return 0;
  }
  return 2;
}

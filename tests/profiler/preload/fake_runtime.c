// A runtime that compiles nothing: it writes the samples it is given to the file FAKE_SAMPLES, one per line.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "profiler/preload_api.h"

static const struct TlHost* host;
static atomic_int watcher_tid;

static void Run(const struct TlHost* given) {
  host = given;
  atomic_store(&watcher_tid, (int)syscall(SYS_gettid));
  const char* name = getenv("FAKE_SAMPLES");
  FILE* out = fopen(name ? name : "/dev/null", "w");
  if (!out) return;
  fprintf(out, "load %lu\nsigtrap %d\n", (unsigned long)host->load_ns, host->sigtrap_usable());
  for (;;) {
    static struct TlSample samples[256];
    const int n = host->drain(samples, 256);
    for (int i = 0; i < n; ++i) fprintf(out, "sample %lx %u %u\n", (long)samples[i].ip, samples[i].tid, samples[i].user);
    static struct TlStackSample stacks[4];
    const int m = host->drain_stacks(stacks, 4);
    for (int i = 0; i < m; ++i) {
      // The word at the stack's top must be the one that is there now: the main thread's frame stands still.
      fprintf(out, "stack %lx %lx %u\n", (long)stacks[i].ip, (long)stacks[i].sp, stacks[i].stack_bytes);
    }
    struct TlSamplingStats stats;
    host->stats(&stats);
    fprintf(out, "source %s\n", stats.source);
    fflush(out);
    const struct timespec pause = {0, 5000000};
    nanosleep(&pause, NULL);
  }
}

static void AtExit(void) {
  const char* name = getenv("FAKE_EXIT");
  FILE* out = name ? fopen(name, "a") : NULL;
  if (!out) return;
  fprintf(out, "%d\n", (int)getpid());
  fclose(out);
}

static void InChild(void) {}

static uint64_t PlaceOf(uint64_t rip) {
  (void)rip;
  return 0;
}

static uint64_t HandleTrap(uint64_t rip) {
  (void)rip;
  return 0;
}
static int OwnsThread(void) { return (int)syscall(SYS_gettid) == atomic_load(&watcher_tid); }
static void ReleasePages(uint64_t begin, uint64_t bytes) {
  (void)begin;
  (void)bytes;
}
static void OnOwnFault(int signo, uint64_t rip) {
  (void)signo;
  (void)rip;
  for (;;) pause();
}

__attribute__((visibility("default"))) const struct TlRuntime tracelift_runtime_table = {
    TL_PRELOAD_API_VERSION, Run, AtExit, InChild, HandleTrap, PlaceOf, OwnsThread, ReleasePages, OnOwnFault};

/* A program with traps of its own while its hot loop is taken over: traps WHAT REPETITIONS.
 *   handled    int3 in its code and raise(SIGTRAP), counted by a handler, from before the loop is hot to the end
 *   late       the handler is set when the loop has long been hot
 *   waited     SIGTRAP blocked and taken by sigtimedwait
 *   ignored    SIGTRAP ignored and raised
 *   dies       an int3 without a handler ends the program
 *   raised     raise(SIGTRAP) without a handler ends the program
 *   stepped    the trap flag: single steps through the hot loop, a trap after each instruction */
#define _GNU_SOURCE
#include <signal.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "support.h"

enum { kCount = 1 << 16 };

static double *in, *out;
static volatile long traps, raised, steps;
static volatile int other;

__attribute__((noinline)) static void work(double* o, const double* a, long n, double factor) {
  for (long i = 0; i < n; ++i) o[i] = blend(a[i], factor);
}

static void on_trap(int signal_number, siginfo_t* info, void* context) {
  (void)context;
  if (signal_number != SIGTRAP) other = 1;
  if (info->si_code == SI_KERNEL) {
    ++traps;
  } else if (info->si_code == SI_TKILL) {
    ++raised;
  } else if (info->si_code == TRAP_TRACE || info->si_code == TRAP_BRKPT) {
    ++steps;
  } else {
    other = info->si_code;
  }
}

static void handle(void) {
  struct sigaction action = {0};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, 0);
}

static void hot(long repetitions) {
  for (long r = 0; r < repetitions; ++r) work(out, in, kCount, 1.0 + (double)(r % 7));
}

static void trap_now_and_then(long repetitions) {
  for (long r = 0; r < repetitions; ++r) {
    work(out, in, kCount, 1.0 + (double)(r % 7));
    __asm__ volatile("int3");
    if (r % 16 == 0) raise(SIGTRAP);
  }
  printf("traps %ld raised %ld other %d\n", traps, raised, other);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const char* what = argv[1];
  const long repetitions = atol(argv[2]);
  in = allocate(kCount * 8);
  out = allocate(kCount * 8);
  for (long i = 0; i < kCount; ++i) in[i] = (double)(random_bits() >> 40);
  if (strcmp(what, "handled") == 0) {
    handle();
    trap_now_and_then(repetitions);
  } else if (strcmp(what, "late") == 0) {
    hot(repetitions);
    handle();
    trap_now_and_then(repetitions / 8);
  } else if (strcmp(what, "waited") == 0) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTRAP);
    sigprocmask(SIG_BLOCK, &set, 0);
    for (long r = 0; r < repetitions; ++r) {
      work(out, in, kCount, 1.0 + (double)(r % 7));
      if (r % 64 != 0) continue;
      raise(SIGTRAP);
      const struct timespec no_time = {0, 0};
      if (sigtimedwait(&set, 0, &no_time) == SIGTRAP) ++raised;
    }
    printf("waited for %ld\n", raised);
  } else if (strcmp(what, "ignored") == 0) {
    signal(SIGTRAP, SIG_IGN);
    for (long r = 0; r < repetitions; ++r) {
      work(out, in, kCount, 1.0 + (double)(r % 7));
      if (r % 64 == 0) raise(SIGTRAP);
    }
    printf("ignored, still %d\n", signal(SIGTRAP, SIG_DFL) == SIG_IGN);
  } else if (strcmp(what, "dies") == 0 || strcmp(what, "raised") == 0) {
    hot(repetitions);
    print_checksum("hot", out, kCount * 8);
    fflush(stdout);
    if (strcmp(what, "raised") == 0) raise(SIGTRAP);
    __asm__ volatile("int3");
    puts("not reached");
  } else if (strcmp(what, "stepped") == 0) {
    hot(repetitions);
    handle();
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "cc", "memory");
    work(out, in, 300, 5.0);
    __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "cc", "memory");
    printf("at least a step for each element: %d, other %d\n", steps >= 300, other);
  } else {
    return 2;
  }
  print_checksum("out", out, kCount * 8);
  return 0;
}

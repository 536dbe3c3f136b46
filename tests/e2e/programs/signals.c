/* Signals in the middle of hot loops: signals WHAT AMOUNT.
 *   forever        says "started" and works until a signal ends it
 *   handler        the same, with a SIGINT handler that asks the work to end
 *   alarms         a 1 kHz timer for AMOUNT milliseconds; the number of handler runs goes to stderr
 *   jumps          handlers leave hot loops by siglongjmp, AMOUNT times
 *   info           handlers look at the interrupted context and let it go on */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "support.h"

enum { kCount = 1 << 20 };

static double *in, *out;
static volatile sig_atomic_t asked, ticks;
static sigjmp_buf escape;

__attribute__((noinline)) static void work(double* o, const double* a, long n, double factor) {
  for (long i = 0; i < n; ++i) o[i] = blend(a[i], factor);
}

static void on_interrupt(int signal_number) {
  (void)signal_number;
  asked = 1;
}
static void on_tick(int signal_number) {
  (void)signal_number;
  ++ticks;
}
static void on_tick_jump(int signal_number) {
  (void)signal_number;
  ++ticks;
  siglongjmp(escape, 1);
}
static void on_tick_look(int signal_number, siginfo_t* info, void* context) {
  (void)signal_number;
  (void)info;
  /* Changes what interrupted code must not notice. */
  volatile double a = (double)ticks + 0.5;
  a = a * a / 3.0;
  if (((ucontext_t*)context)->uc_mcontext.gregs[REG_RSP] != 0) ++ticks;
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void every_millisecond(void) {
  const struct itimerval timer = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &timer, 0);
}

static void no_more_ticks(void) {
  const struct itimerval off = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &off, 0);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const char* what = argv[1];
  const long amount = atol(argv[2]);
  in = allocate(kCount * 8);
  out = allocate(kCount * 8);
  for (long i = 0; i < kCount; ++i) in[i] = (double)(random_bits() >> 40);
  if (strcmp(what, "forever") == 0 || strcmp(what, "handler") == 0) {
    if (strcmp(what, "handler") == 0) signal(SIGINT, on_interrupt);
    puts("started");
    fflush(stdout);
    while (!asked) work(out, in, kCount, 2.0);
    print_checksum("interrupted", out, kCount * 8);
    return 3;
  }
  if (strcmp(what, "alarms") == 0) {
    const double before = now_ms();
    while (now_ms() - before < 300) work(out, in, kCount, 2.0); /* hot before the first tick */
    signal(SIGALRM, on_tick);
    const double start = now_ms();
    every_millisecond();
    while (now_ms() - start < (double)amount) work(out, in, kCount, 2.0);
    no_more_ticks();
    const double seconds = (now_ms() - start) / 1e3;
    fprintf(stderr, "%.0f\n", (double)ticks / seconds);
  } else if (strcmp(what, "jumps") == 0) {
    signal(SIGALRM, on_tick_jump);
    every_millisecond();
    for (;;) {
      if (ticks >= amount) break;
      sigsetjmp(escape, 1);
      while (ticks < amount) work(out, in, kCount, 2.0);
      break;
    }
    no_more_ticks();
    work(out, in, kCount, 2.0);
  } else if (strcmp(what, "info") == 0) {
    struct sigaction action = {0};
    action.sa_sigaction = on_tick_look;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(SIGALRM, &action, 0);
    every_millisecond();
    for (long r = 0; r < amount; ++r) {
      work(out, in, kCount, 1.0 + (double)(r % 5));
      work(in, out, kCount, 0.5);
    }
    no_more_ticks();
  } else {
    return 2;
  }
  print_checksum("out", out, kCount * 8);
  return 0;
}

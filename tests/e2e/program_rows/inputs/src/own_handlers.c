/* Lives on faults: pages are made writable when they are written to, int3 and raise() count, a null pointer is
 * survived by siglongjmp, as garbage collectors and debuggers do; a hot loop in between. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { kPage = 4096, kPages = 64, kCount = 1 << 16 };

static char* pages;
static volatile long faults, traps, raised;
static sigjmp_buf survive;
static volatile sig_atomic_t expecting;
static double data[kCount];

static void on_fault(int signo, siginfo_t* info, void* context) {
  (void)signo;
  (void)context;
  char* at = (char*)info->si_addr;
  if (at >= pages && at < pages + kPages * kPage) {
    mprotect((char*)((unsigned long)at & ~(kPage - 1UL)), kPage, PROT_READ | PROT_WRITE);
    ++faults;
    return;
  }
  if (expecting) siglongjmp(survive, 1);
  _exit(99);
}

static void on_trap(int signo, siginfo_t* info, void* context) {
  (void)signo;
  (void)context;
  if (info->si_code == SI_TKILL) ++raised; else ++traps;
}

__attribute__((noinline)) static void work(double* d, long n, double f) {
  for (long i = 0; i < n; ++i) d[i] = d[i] * 0.5 + f * (double)(i & 15);
}

int main(void) {
  static char stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternate, 0);
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGSEGV, &action, 0);
  action.sa_sigaction = on_trap;
  sigaction(SIGTRAP, &action, 0);
  pages = mmap(0, kPages * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  long survived = 0;
  for (int round = 0; round < 3000; ++round) {
    work(data, kCount, round % 7);
    if (round % kPages == 0) mprotect(pages, kPages * kPage, PROT_READ);
    pages[round % kPages * kPage + round % 99] = (char)round;
    if (round % 10 == 0) __asm__ volatile("int3");
    if (round % 25 == 0) raise(SIGTRAP);
    if (round % 50 == 0) {
      expecting = 1;
      if (sigsetjmp(survive, 1) == 0) *(volatile int*)0 = 1; else ++survived;
      expecting = 0;
    }
  }
  double sum = 0;
  for (int i = 0; i < kCount; ++i) sum += data[i];
  printf("%ld faults, %ld traps, %ld raised, %ld survived, %.17g\n", faults, traps, raised, survived, sum);
  fflush(stdout);
  signal(SIGSEGV, SIG_DFL);
  signal(SIGTRAP, SIG_DFL);
  __asm__ volatile("int3");
  return 0;
}

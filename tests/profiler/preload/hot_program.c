// Spends CPU time in known places, and says where they are.
//   hot_program main MS       in HotMain
//   hot_program late MS       first in HotMain, then only in threads started afterwards, in HotThread
//   hot_program spread MS     in memchr and the like of the C library
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double CpuMs(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

// Aligned alone on their pages, so that an address tells the function.
__attribute__((noinline, aligned(4096))) static double HotMain(double x) {
  for (int i = 0; i < 300000; ++i) x = x * 0.999999 + 1e-9;
  return x;
}
__attribute__((noinline, aligned(4096))) static double HotThread(double x) {
  for (int i = 0; i < 300000; ++i) x = x * 0.999998 + 1e-9;
  return x;
}
__attribute__((noinline, aligned(4096))) static void Spin(clockid_t clock, double ms, double (*work)(double)) {
  volatile double x = 1;
  for (const double end = CpuMs(clock) + ms; CpuMs(clock) < end;) x = work(x);
}

static void* Thread(void* ms) {
  Spin(CLOCK_THREAD_CPUTIME_ID, *(double*)ms, &HotThread);
  return NULL;
}

int main(int argc, char** argv) {
  double ms = argc > 2 ? atof(argv[2]) : 500;
  printf("main %lx thread %lx\n", (long)&HotMain, (long)&HotThread);
  fflush(stdout);
  if (strcmp(argv[1], "spread") == 0) {
    static char text[1 << 20];
    volatile long found = 0;
    for (const double end = CpuMs(CLOCK_THREAD_CPUTIME_ID) + ms; CpuMs(CLOCK_THREAD_CPUTIME_ID) < end;) {
      found += memchr(text, 1, sizeof(text)) != NULL;
    }
    return 0;
  }
  Spin(CLOCK_THREAD_CPUTIME_ID, ms, &HotMain);
  if (strcmp(argv[1], "late") == 0) {
    pthread_t threads[3];
    for (int i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, Thread, &ms);
    for (int i = 0; i < 3; ++i) pthread_join(threads[i], NULL);
  }
  return 0;
}

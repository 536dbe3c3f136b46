/* A pool of threads hammers the same loops: threads MODE COUNT REPETITIONS.
 *   steady      every thread its own memory, always the same sizes
 *   changing    sizes and strides change at every call, so that what was compiled for some values must decline
 *   overlapping every other call has iterations that depend on each other: taken over and left alone in turn
 *   growing     threads start and end all the time */
#include <pthread.h>

#include "support.h"

enum { kCount = 1 << 15, kMostThreads = 64 };

static const char* mode;
static long repetitions;

__attribute__((noinline)) static void work(double* out, const double* in, long n, long step, double factor) {
  for (long i = 0; i < n; ++i) out[i * step] = blend(in[i * step], factor);
}

struct task {
  pthread_t thread;
  uint64_t seed;
  uint64_t result;
  long rounds;
};

static uint64_t next(uint64_t* seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  return *seed ^= *seed << 17;
}

static void* run(void* argument) {
  struct task* task = argument;
  double* in = allocate(4 * kCount * 8);
  double* out = allocate(4 * kCount * 8);
  for (long i = 0; i < 4 * kCount; ++i) {
    in[i] = (double)(next(&task->seed) >> 40);
    out[i] = 0;
  }
  for (long r = 0; r < task->rounds; ++r) {
    const double factor = 1.0 + (double)(r & 15) * 0.125;
    if (strcmp(mode, "changing") == 0) {
      const uint64_t bits = next(&task->seed);
      work(out + bits % 5, in + bits % 7, kCount - (long)(bits % 64), 1 + (long)(bits % 3), factor);
    } else if (strcmp(mode, "overlapping") == 0 && r % 2 == 1) {
      work(out + 1, out, kCount, 1, 0.25);
    } else {
      work(out, in, kCount, 1, factor);
    }
    if (r % 64 == 0) task->result = task->result * 31 + checksum(out, 4 * kCount * 8);
  }
  task->result = task->result * 31 + checksum(out, 4 * kCount * 8);
  free(in);
  free(out);
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  mode = argv[1];
  const int count = atoi(argv[2]);
  repetitions = atol(argv[3]);
  if (count > kMostThreads) return 2;
  static struct task tasks[kMostThreads];
  const int generations = strcmp(mode, "growing") == 0 ? 20 : 1;
  for (int g = 0; g < generations; ++g) {
    for (int t = 0; t < count; ++t) {
      tasks[t].seed = 88172645463325252ull + (uint64_t)(g * kMostThreads + t) * 7919;
      tasks[t].result = 0;
      tasks[t].rounds = repetitions / generations;
      if (pthread_create(&tasks[t].thread, 0, run, &tasks[t]) != 0) return 99;
    }
    for (int t = 0; t < count; ++t) {
      pthread_join(tasks[t].thread, 0);
      printf("%d.%d %016llx\n", g, t, (unsigned long long)tasks[t].result);
    }
  }
  return 0;
}

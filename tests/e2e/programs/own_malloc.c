/* A program that brings its own malloc: own_malloc REPETITIONS. It counts who else than its main thread allocates.
 * With -DTHREADED it takes a lock and has started a thread; without, it breaks when anybody else comes, as Lisp systems
 * that collect the C heap do. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support.h"

enum { kCount = 1 << 16, kHeap = 256 << 20 };

static char heap[kHeap] __attribute__((aligned(16)));
static size_t used;
static long strangers;
static volatile int lock;

void* malloc(size_t size) {
#ifdef THREADED
  while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) {
  }
#else
  if (syscall(SYS_gettid) != syscall(SYS_getpid)) ++strangers;
#endif
  size_t* block = (size_t*)(heap + used);
  *block = size;
  used += (size + 31) & ~(size_t)15;
  __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
  return (char*)block + 16;
}

void free(void* block) { (void)block; }

void* calloc(size_t count, size_t size) { return malloc(count * size); }

void* realloc(void* old, size_t size) {
  void* block = malloc(size);
  if (old) {
    const size_t before = *(size_t*)((char*)old - 16);
    memcpy(block, old, before < size ? before : size);
  }
  return block;
}

void* memalign(size_t alignment, size_t size) {
  const size_t at = (size_t)malloc(size + alignment);
  size_t* block = (size_t*)((at + alignment - 1) & ~(alignment - 1));
  if (block != (size_t*)at) block[-2] = size;
  return block;
}

void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void** out, size_t alignment, size_t size) {
  *out = memalign(alignment, size);
  return 0;
}

__attribute__((noinline)) static void work(double* o, const double* a, long n, double factor) {
  for (long i = 0; i < n; ++i) o[i] = blend(a[i], factor);
}

#ifdef THREADED
static void* nothing(void* argument) { return argument; }
#endif

int main(int argc, char** argv) {
  const long repetitions = argc > 1 ? atol(argv[1]) : 1;
#ifdef THREADED
  pthread_t thread;
  pthread_create(&thread, 0, nothing, 0);
  pthread_join(thread, 0);
#endif
  double* in = malloc(kCount * sizeof *in);
  double* out = malloc(kCount * sizeof *out);
  for (int i = 0; i < kCount; ++i) in[i] = i * 0.25;
  for (long r = 0; r < repetitions; ++r) work(out, in, kCount, 1.0 + (double)(r % 7));
  double sum = 0;
  for (int i = 0; i < kCount; ++i) sum += out[i];
  printf("%.17g, %ld strangers\n", sum, strangers);
  return 0;
}

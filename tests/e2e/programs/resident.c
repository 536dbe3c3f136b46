// An iterated smoothing of two arrays whose results nobody needs here but as the mode says: which looks at them in all ways that a
// program has, while they may be somewhere else.
//
//   resident MODE N STEPS      none, write, read, fork, move, drop, thread, unmap, nan, place
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static double *Map(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) exit(1);
  return memory;
}

__attribute__((noinline)) static void Smooth(double *to, const double *from, long n) {
  for (long i = 1; i < n - 1; ++i) {
    for (long j = 1; j < n - 1; ++j) {
      const double *at = from + i * n + j;
      to[i * n + j] = 0.25 * (at[-1] + at[1]) + 0.25 * (at[-n] + at[n]) + 1e-3 * at[0];
    }
  }
}

// In its place.
__attribute__((noinline)) static void Scale(double *memory, long n) {
  for (long i = 0; i < n * n; ++i) memory[i] = memory[i] * 1.001 + 1e-6;
}

static uint64_t Hash(const void *memory, size_t bytes) {
  uint64_t hash = 14695981039346656037u;
  const unsigned char *at = memory;
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t word;
    memcpy(&word, at + i, 8);
    hash = (hash ^ word) * 1099511628211u;
  }
  return hash;
}

struct Part {
  const double *memory;
  size_t bytes;
  uint64_t hash;
};
static void *HashPart(void *part) {
  struct Part *of = part;
  of->hash = Hash(of->memory, of->bytes);
  return NULL;
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  const char *mode = arguments[1];
  const long n = atol(arguments[2]), steps = atol(arguments[3]);
  const size_t bytes = (size_t)(n * n) * sizeof(double);
  double *a = Map(bytes), *b = Map(bytes);
  for (long i = 0; i < n * n; ++i) a[i] = b[i] = (double)((uint64_t)i * 2654435761u % 1000) / 1000;
  FILE *file = tmpfile();
  const double not_a_number = strtod("nan", NULL);
  for (long step = 0; step < steps; ++step) {
    Smooth(step % 2 ? a : b, step % 2 ? b : a, n);
    double *now = step % 2 ? a : b;
    if (strcmp(mode, "nan") == 0 && step == steps / 2) now[n * n / 2 + n / 2] = not_a_number;
    if (strcmp(mode, "place") == 0) Scale(now, n);
    if (step % 25 != 24) continue;
    if (strcmp(mode, "write") == 0) {
      if (pwrite(fileno(file), now, bytes, 0) != (ssize_t)bytes) return 1;
      double *back = Map(bytes);
      if (pread(fileno(file), back, bytes, 0) != (ssize_t)bytes) return 1;
      printf("%016lx\n", Hash(back, bytes));
      munmap(back, bytes);
    } else if (strcmp(mode, "read") == 0) {
      if (pwrite(fileno(file), now, bytes / 2, 0) != (ssize_t)(bytes / 2)) return 1;
      if (pread(fileno(file), now + n * n / 3, bytes / 3, 0) != (ssize_t)(bytes / 3)) return 1;
    } else if (strcmp(mode, "fork") == 0) {
      fflush(stdout);
      const pid_t child = fork();
      if (child == 0) {
        printf("child %016lx\n", Hash(now, bytes));
        fflush(stdout);
        _exit(0);
      }
      int status = 0;
      if (step % 50 == 49 && (waitpid(child, &status, 0) != child || status != 0)) return 1;
      while (step % 50 != 49 && waitpid(child, &status, 0) != child) continue;
    } else if (strcmp(mode, "move") == 0) {
      double **moved = step % 2 ? &a : &b;
      double *elsewhere = Map(bytes);
      *moved = mremap(*moved, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere);
      if (*moved == MAP_FAILED) return 1;
    } else if (strcmp(mode, "drop") == 0) {
      if (madvise((char *)now + bytes / 8 / 4096 * 4096, bytes / 4 / 4096 * 4096, MADV_DONTNEED) != 0) return 1;
    } else if (strcmp(mode, "thread") == 0) {
      struct Part part = {now, bytes, 0};
      pthread_t thread;
      if (pthread_create(&thread, NULL, HashPart, &part) != 0) return 1;
      pthread_join(thread, NULL);
      printf("%016lx\n", part.hash);
    } else if (strcmp(mode, "unmap") == 0) {
      double *copy = Map(bytes);
      memcpy(copy, now, bytes);
      munmap(now, bytes);
      *(step % 2 ? &a : &b) = copy;
    }
  }
  printf("%016lx %016lx\n", Hash(a, bytes), Hash(b, bytes));
  return 0;
}

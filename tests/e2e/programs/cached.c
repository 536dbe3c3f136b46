/* cached ROUNDS N...: one loop over arrays of each size N in turn, with a constant, a table and variables of this file.
   FACTOR lies in read-only data: the code is the same whatever it is. Prints a checksum and where the code lies. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef FACTOR
#define FACTOR 1.5
#endif

static double offset = 0.25;

__attribute__((noinline)) static void combine(const double* from, double* to, long n) {
  for (long i = 0; i < n; ++i) to[i] = from[i] * FACTOR + offset;
}

__attribute__((noinline)) static double running(const double* from, long n) {
  double sum = 0; /* stays at home: its order must not change */
  for (long i = 0; i < n; ++i) sum = sum * 0.999 + from[i];
  return sum;
}

int main(int argc, char** argv) {
  const long rounds = atol(argv[1]);
  enum { kMost = 1 << 17 };
  double* from = malloc(kMost * sizeof(double));
  double* to = calloc(kMost, sizeof(double));
  for (long i = 0; i < kMost; ++i) from[i] = (double)(i * 7919 % 1000) / 8;
  double check = 0;
  for (long round = 0; round < rounds; ++round) {
    const long n = atol(argv[2 + round % (argc - 2)]);
    combine(from, to, n);
    offset += 0.001;
    if (round % 16 == 0) check += running(to, n);
  }
  uint64_t hash = 0;
  for (long i = 0; i < kMost; ++i) {
    union { double value; uint64_t bits; } u = {to[i]};
    hash = hash * 31 + u.bits;
  }
  printf("%016llx %a\n", (unsigned long long)hash, check);
  free(from);
  free(to);
  return 0;
}

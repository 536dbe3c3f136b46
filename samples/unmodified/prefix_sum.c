/* Running sums over an array, in place and repeated. Usage: prefix_sum [elements] [repetitions] */
#include <stdio.h>
#include <stdlib.h>

static void prefix_sum(unsigned long* values, long n) {
  for (long i = 1; i < n; i++) values[i] += values[i - 1];
}

int main(int argc, char** argv) {
  long n = argc > 1 ? atol(argv[1]) : 1000000;
  int repetitions = argc > 2 ? atoi(argv[2]) : 4000;
  if (n < 1) {
    fprintf(stderr, "usage: prefix_sum [elements] [repetitions]\n");
    return 1;
  }
  unsigned long* values = malloc(n * sizeof *values);
  if (!values) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  for (long i = 0; i < n; i++) values[i] = i * 7 % 13;
  for (int r = 0; r < repetitions; r++) prefix_sum(values, n); /* modulo 2^64 */

  unsigned long hash = 0;
  for (long i = 0; i < n; i++) hash = hash * 31 + values[i];
  printf("elements = %ld, repetitions = %d\n", n, repetitions);
  printf("hash = %016lx\n", hash);
  for (int k = 0; k < 6; k++) printf("values[%ld] = %lu\n", k * (n - 1) / 5, values[k * (n - 1) / 5]);
  free(values);
  return 0;
}

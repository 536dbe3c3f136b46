/* The cheapest order of a chain of matrix products, by dynamic programming over all intervals.
   Usage: matrix_chain [matrices] */
#include "program.h"

static void plan(int n, const int64_t* sizes, int64_t cost[n][n], int split[n][n]) {
  for (int i = 0; i < n; i++) cost[i][i] = 0;
  for (int length = 2; length <= n; length++) {
#pragma omp parallel for
    for (int i = 0; i <= n - length; i++) {
      int j = i + length - 1;
      int64_t least = INT64_MAX;
      int where = i;
      for (int k = i; k < j; k++) {
        int64_t all = cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1];
        if (all < least) {
          least = all;
          where = k;
        }
      }
      cost[i][j] = least;
      split[i][j] = where;
    }
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 2000);
  int64_t* sizes = allocate(n + 1, sizeof *sizes);
  int64_t* cost = allocate((size_t)n * n, sizeof *cost);
  int* split = allocate((size_t)n * n, sizeof *split);
  uint64_t seed = 1;
  for (int i = 0; i <= n; i++) sizes[i] = 1 + random_bits(&seed) % 1000;
  memset(cost, 0, (size_t)n * n * sizeof *cost);
  memset(split, 0, (size_t)n * n * sizeof *split);
  plan(n, sizes, (void*)cost, (void*)split);
  printf("cost %lld\n", (long long)cost[n - 1]);
  print_checksum("costs", cost, (size_t)n * n * sizeof *cost);
  print_checksum("splits", split, (size_t)n * n * sizeof *split);
}

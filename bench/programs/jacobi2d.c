/* Jacobi iteration of a five-point stencil, two grids in turn. Usage: jacobi2d [n] [rounds] */
#include "program.h"

static void sweep(int n, double from[n][n], double to[n][n]) {
#pragma omp parallel for
  for (int i = 1; i < n - 1; i++)
    for (int j = 1; j < n - 1; j++)
      to[i][j] = 0.2 * (from[i][j] + from[i][j - 1] + from[i][j + 1] + from[i + 1][j] + from[i - 1][j]);
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 1500);
  int rounds = size_argument(argc, argv, 2, 550);
  double* a = allocate((size_t)n * n, sizeof *a);
  double* b = allocate((size_t)n * n, sizeof *b);
  fill_random(a, (size_t)n * n, 0, 100, 1);
  memcpy(b, a, (size_t)n * n * sizeof *a);
  for (int round = 0; round < rounds; round++) {
    sweep(n, (void*)a, (void*)b);
    sweep(n, (void*)b, (void*)a);
  }
  print_checksum("grid", a, (size_t)n * n * sizeof *a);
}

/* Gauss-Seidel iteration of a nine-point stencil in place: each point needs the new values before it.
   Usage: gauss_seidel [n] [rounds] */
#include "program.h"

static void sweep(int n, double a[n][n]) {
  for (int i = 1; i < n - 1; i++)
    for (int j = 1; j < n - 1; j++)
      a[i][j] = (a[i - 1][j - 1] + a[i - 1][j] + a[i - 1][j + 1] + a[i][j - 1] + a[i][j] + a[i][j + 1] +
                 a[i + 1][j - 1] + a[i + 1][j] + a[i + 1][j + 1]) /
                9.0;
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 1200);
  int rounds = size_argument(argc, argv, 2, 180);
  double* a = allocate((size_t)n * n, sizeof *a);
  fill_random(a, (size_t)n * n, 0, 100, 1);
  for (int round = 0; round < rounds; round++) sweep(n, (void*)a);
  print_checksum("grid", a, (size_t)n * n * sizeof *a);
}

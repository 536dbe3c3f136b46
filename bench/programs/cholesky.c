/* Cholesky decomposition of a symmetric positive definite matrix, row by row. Usage: cholesky [n] */
#include <math.h>

#include "program.h"

static void decompose(int n, double a[n][n]) {
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < i; j++) {
      for (int k = 0; k < j; k++) a[i][j] -= a[i][k] * a[j][k];
      a[i][j] /= a[j][j];
    }
    for (int k = 0; k < i; k++) a[i][i] -= a[i][k] * a[i][k];
    a[i][i] = sqrt(a[i][i]);
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 2600);
  double* a = allocate((size_t)n * n, sizeof *a);
  fill_random(a, (size_t)n * n, -1, 1, 1);
  for (int i = 0; i < n; i++) a[(size_t)i * n + i] = n;
  decompose(n, (void*)a);
  print_checksum("l", a, (size_t)n * n * sizeof *a);
  printf("last %a\n", a[(size_t)n * n - 1]);
}

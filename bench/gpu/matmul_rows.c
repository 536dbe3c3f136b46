/* Product of two square matrices, row after row of the second into a row of the result: the sums of
   bench/programs/matmul.c, and its output. Usage: matmul_rows [n] */
#include "bench/programs/program.h"

static void multiply(int n, double a[n][n], double b[n][n], double c[n][n]) {
#pragma omp parallel for
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < n; j++) c[i][j] = 0.0;
    for (int k = 0; k < n; k++) {
      for (int j = 0; j < n; j++) c[i][j] += a[i][k] * b[k][j];
    }
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 1300);
  size_t elements = (size_t)n * n;
  double* a = allocate(elements, sizeof *a);
  double* b = allocate(elements, sizeof *b);
  double* c = allocate(elements, sizeof *c);
  fill_random(a, elements, -1, 1, 1);
  fill_random(b, elements, -1, 1, 2);
  multiply(n, (void*)a, (void*)b, (void*)c);
  print_checksum("c", c, elements * sizeof *c);
  printf("middle %a\n", c[elements / 2]);
}

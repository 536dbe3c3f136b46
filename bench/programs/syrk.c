/* Symmetric rank-k update: the lower triangle of C = beta C + alpha A A^T. Usage: syrk [n] [k] */
#include "program.h"

static void update(int n, int k, double alpha, double beta, double a[n][k], double c[n][n]) {
#pragma omp parallel for schedule(dynamic, 16)
  for (int i = 0; i < n; i++) {
    for (int j = 0; j <= i; j++) {
      double sum = 0.0;
      for (int l = 0; l < k; l++) sum += a[i][l] * a[j][l];
      c[i][j] = beta * c[i][j] + alpha * sum;
    }
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 2200);
  int k = size_argument(argc, argv, 2, 1500);
  double* a = allocate((size_t)n * k, sizeof *a);
  double* c = allocate((size_t)n * n, sizeof *c);
  fill_random(a, (size_t)n * k, -1, 1, 1);
  fill_random(c, (size_t)n * n, -1, 1, 2);
  update(n, k, 1.5, 0.75, (void*)a, (void*)c);
  print_checksum("c", c, (size_t)n * n * sizeof *c);
}

/* L X = B for a lower triangular L and many right hand sides. Usage: triangular_solve [n] [right hand sides] */
#include "program.h"

/* The parallel build gives each thread columns of its own: loops of one range are dealt out alike, so none has to wait. */
static void solve(int n, int m, double l[n][n], double x[n][m]) {
#pragma omp parallel
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < i; k++) {
#pragma omp for schedule(static) nowait
      for (int j = 0; j < m; j++) x[i][j] -= l[i][k] * x[k][j];
    }
#pragma omp for schedule(static) nowait
    for (int j = 0; j < m; j++) x[i][j] /= l[i][i];
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 2400);
  int m = size_argument(argc, argv, 2, 1600);
  double* l = allocate((size_t)n * n, sizeof *l);
  double* x = allocate((size_t)n * m, sizeof *x);
  fill_random(l, (size_t)n * n, -0.5, 0.5, 1);
  fill_random(x, (size_t)n * m, -1, 1, 2);
  for (int i = 0; i < n; i++) l[(size_t)i * n + i] = n;
  solve(n, m, (void*)l, (void*)x);
  print_checksum("x", x, (size_t)n * m * sizeof *x);
}

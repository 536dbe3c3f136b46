/* QR decomposition by the modified Gram-Schmidt process, on columns of a matrix stored by rows.
   Usage: gram_schmidt [rows] [columns] */
#include <math.h>

#include "program.h"

static void decompose(int m, int n, double a[m][n], double r[n][n], double q[m][n]) {
  for (int k = 0; k < n; k++) {
    double norm = 0.0;
    for (int i = 0; i < m; i++) norm += a[i][k] * a[i][k];
    r[k][k] = sqrt(norm);
    for (int i = 0; i < m; i++) q[i][k] = a[i][k] / r[k][k];
#pragma omp parallel for
    for (int j = k + 1; j < n; j++) {
      r[k][j] = 0.0;
      for (int i = 0; i < m; i++) r[k][j] += q[i][k] * a[i][j];
      for (int i = 0; i < m; i++) a[i][j] -= q[i][k] * r[k][j];
    }
  }
}

int main(int argc, char** argv) {
  int m = size_argument(argc, argv, 1, 1000);
  int n = size_argument(argc, argv, 2, 700);
  double* a = allocate((size_t)m * n, sizeof *a);
  double* q = allocate((size_t)m * n, sizeof *q);
  double* r = allocate((size_t)n * n, sizeof *r);
  fill_random(a, (size_t)m * n, -1, 1, 1);
  memset(r, 0, (size_t)n * n * sizeof *r);
  decompose(m, n, (void*)a, (void*)r, (void*)q);
  print_checksum("q", q, (size_t)m * n * sizeof *q);
  print_checksum("r", r, (size_t)n * n * sizeof *r);
}

/* Rank-2 update of a matrix, then a product with its transpose and one with itself, again and again: power iteration
   on a matrix that changes. Memory bound. Usage: gemver [n] [rounds] */
#include <math.h>

#include "program.h"

static void rank_two(int n, double a[n][n], const double* u1, const double* v1, const double* u2, const double* v2) {
#pragma omp parallel for
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) a[i][j] += u1[i] * v1[j] + u2[i] * v2[j];
}

static void transposed_product(int n, double a[n][n], const double* y, double* x) {
#pragma omp parallel for
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) x[i] += 1.2 * a[j][i] * y[j];
}

static void product(int n, double a[n][n], const double* x, double* w) {
#pragma omp parallel for
  for (int i = 0; i < n; i++) {
    w[i] = 0.0;
    for (int j = 0; j < n; j++) w[i] += 0.9 * a[i][j] * x[j];
  }
}

static void normalise(int n, double* v) {
  double most = 0.0;
  for (int i = 0; i < n; i++) most = fmax(most, fabs(v[i]));
  for (int i = 0; i < n; i++) v[i] /= most;
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 2000);
  int rounds = size_argument(argc, argv, 2, 80);
  double* a = allocate((size_t)n * n, sizeof *a);
  double* vectors = allocate((size_t)n * 5, sizeof *vectors);
  double *u1 = vectors, *v1 = u1 + n, *u2 = v1 + n, *v2 = u2 + n, *x = v2 + n;
  double* w = allocate(n, sizeof *w);
  fill_random(a, (size_t)n * n, -1, 1, 1);
  fill_random(vectors, (size_t)n * 5, -0.1, 0.1, 2);
  for (int round = 0; round < rounds; round++) {
    rank_two(n, (void*)a, u1, v1, u2, v2);
    transposed_product(n, (void*)a, v2, x);
    normalise(n, x);
    product(n, (void*)a, x, w);
    normalise(n, w);
    memcpy(u1, w, n * sizeof *w);
  }
  print_checksum("a", a, (size_t)n * n * sizeof *a);
  print_checksum("x", x, n * sizeof *x);
}

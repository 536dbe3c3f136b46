/* Conjugate gradients for a dense symmetric system. Usage: conjugate_gradient [n] [steps] */
#include <math.h>

#include "program.h"

static double dot(int n, const double* a, const double* b) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

static void product(int n, double a[n][n], const double* x, double* y) {
#pragma omp parallel for
  for (int i = 0; i < n; i++) y[i] = dot(n, a[i], x);
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 3000);
  int steps = size_argument(argc, argv, 2, 180);
  double* a = allocate((size_t)n * n, sizeof *a);
  double* x = allocate(n, sizeof *x);
  double* r = allocate(n, sizeof *r);
  double* p = allocate(n, sizeof *p);
  double* ap = allocate(n, sizeof *ap);
  uint64_t seed = 1;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < i; j++) a[(size_t)i * n + j] = a[(size_t)j * n + i] = random_between(&seed, -1, 1);
    a[(size_t)i * n + i] = 1.165 * sqrt(n);
  }
  fill_random(r, n, -1, 1, 2);
  memset(x, 0, n * sizeof *x);
  memcpy(p, r, n * sizeof *p);
  double residual = dot(n, r, r);
  for (int step = 0; step < steps && residual > 0.0; step++) {
    product(n, (void*)a, p, ap);
    double alpha = residual / dot(n, p, ap);
    for (int i = 0; i < n; i++) x[i] += alpha * p[i];
    for (int i = 0; i < n; i++) r[i] -= alpha * ap[i];
    double before = residual;
    residual = dot(n, r, r);
    for (int i = 0; i < n; i++) p[i] = r[i] + residual / before * p[i];
  }
  printf("residual %a\n", residual);
  print_checksum("x", x, n * sizeof *x);
}

/* Product of two square matrices of doubles. Usage: matmul [n] */
#include <stdio.h>
#include <stdlib.h>

static void multiply(int n, const double* a, const double* b, double* c) {
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < n; j++) c[i * n + j] = 0.0;
    for (int k = 0; k < n; k++) {
      double x = a[i * n + k];
      for (int j = 0; j < n; j++) c[i * n + j] += x * b[k * n + j];
    }
  }
}

static void fill(int n, double* m, unsigned seed) {
  for (int i = 0; i < n * n; i++) {
    seed = seed * 1664525u + 1013904223u;
    m[i] = (double)(seed >> 8) / (1 << 24) - 0.5;
  }
}

int main(int argc, char** argv) {
  int n = argc > 1 ? atoi(argv[1]) : 2000;
  if (n < 1) {
    fprintf(stderr, "usage: matmul [n]\n");
    return 1;
  }
  size_t bytes = (size_t)n * n * sizeof(double);
  double* a = malloc(bytes);
  double* b = malloc(bytes);
  double* c = malloc(bytes);
  if (!a || !b || !c) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  fill(n, a, 1);
  fill(n, b, 2);
  multiply(n, a, b, c);

  double sum = 0.0, trace = 0.0;
  for (int i = 0; i < n * n; i++) sum += c[i];
  for (int i = 0; i < n; i++) trace += c[i * n + i];
  printf("n = %d\n", n);
  printf("sum   = %.17g\n", sum);
  printf("trace = %.17g\n", trace);
  printf("c[0][0] = %.17g, c[n/2][n/3] = %.17g, c[n-1][n-1] = %.17g\n", c[0], c[(n / 2) * n + n / 3], c[n * n - 1]);
  free(a);
  free(b);
  free(c);
  return 0;
}

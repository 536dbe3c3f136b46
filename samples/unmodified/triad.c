/* STREAM-like triad, a = b + s * c, repeated. Usage: triad [elements] [repetitions] */
#include <stdio.h>
#include <stdlib.h>

static void triad(long n, double* a, const double* b, const double* c, double s) {
  for (long i = 0; i < n; i++) a[i] = b[i] + s * c[i];
}

int main(int argc, char** argv) {
  long n = argc > 1 ? atol(argv[1]) : 400000;
  int repetitions = argc > 2 ? atoi(argv[2]) : 30000;
  if (n < 1) {
    fprintf(stderr, "usage: triad [elements] [repetitions]\n");
    return 1;
  }
  double* a = malloc(n * sizeof(double));
  double* b = malloc(n * sizeof(double));
  double* c = malloc(n * sizeof(double));
  if (!a || !b || !c) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  for (long i = 0; i < n; i++) {
    a[i] = 1.0;
    b[i] = (double)(i % 1000) / 1000.0;
    c[i] = (double)(i % 77) / 7.0;
  }
  for (int r = 0; r < repetitions; r++) {
    triad(n, a, b, c, 1.0 / (r + 1));
    double* rotate = a;
    a = b;
    b = rotate;
  }

  double sum = 0.0;
  for (long i = 0; i < n; i++) sum += b[i];
  printf("elements = %ld, repetitions = %d\n", n, repetitions);
  printf("sum = %.17g\n", sum);
  printf("first = %.17g, middle = %.17g, last = %.17g\n", b[0], b[n / 2], b[n - 1]);
  free(a);
  free(b);
  free(c);
  return 0;
}

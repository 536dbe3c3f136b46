/* Heat in a square plate: Jacobi iteration with a 5-point stencil. Usage: stencil2d [n] [steps] */
#include <stdio.h>
#include <stdlib.h>

static void step(int n, const double* old, double* new) {
  for (int i = 1; i < n - 1; i++) {
    for (int j = 1; j < n - 1; j++) {
      new[i * n + j] = 0.5 * old[i * n + j] +
                       0.125 * (old[(i - 1) * n + j] + old[(i + 1) * n + j] + old[i * n + j - 1] + old[i * n + j + 1]);
    }
  }
}

/* The left edge is hot, the others are cold; a warm disc in the middle. */
static void initialise(int n, double* grid) {
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < n; j++) {
      int y = i - n / 2, x = j - n / 2;
      grid[i * n + j] = x * x + y * y < n * n / 16 ? 50.0 : 10.0;
    }
  }
  for (int i = 0; i < n; i++) {
    grid[i * n] = 100.0;
    grid[i * n + n - 1] = 0.0;
  }
}

int main(int argc, char** argv) {
  int n = argc > 1 ? atoi(argv[1]) : 1000;
  int steps = argc > 2 ? atoi(argv[2]) : 5000;
  if (n < 3 || steps < 0) {
    fprintf(stderr, "usage: stencil2d [n] [steps]\n");
    return 1;
  }
  double* a = malloc(sizeof(double) * n * n);
  double* b = malloc(sizeof(double) * n * n);
  if (!a || !b) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  initialise(n, a);
  initialise(n, b);
  for (int t = 0; t < steps; t++) {
    step(n, a, b);
    double* swap = a;
    a = b;
    b = swap;
  }

  double sum = 0.0;
  for (int i = 0; i < n * n; i++) sum += a[i];
  printf("n = %d, steps = %d\n", n, steps);
  printf("mean temperature   = %.15f\n", sum / ((double)n * n));
  printf("centre temperature = %.15f\n", a[n / 2 * n + n / 2]);
  printf("profile:");
  for (int k = 0; k < 8; k++) printf(" %.9f", a[n / 2 * n + k * (n - 1) / 7]);
  printf("\n");
  free(a);
  free(b);
  return 0;
}

/* Diffusion in a cube: 7-point stencil in three dimensions. Usage: stencil3d [n] [steps] */
#include <stdio.h>
#include <stdlib.h>

#define AT(g, i, j, k) g[((size_t)(i)*n + (j)) * n + (k)]

static void step(int n, float* out, const float* in, float c0, float c1) {
  for (int i = 1; i < n - 1; i++)
    for (int j = 1; j < n - 1; j++)
      for (int k = 1; k < n - 1; k++)
        AT(out, i, j, k) =
            c0 * AT(in, i, j, k) + c1 * (AT(in, i - 1, j, k) + AT(in, i + 1, j, k) + AT(in, i, j - 1, k) +
                                         AT(in, i, j + 1, k) + AT(in, i, j, k - 1) + AT(in, i, j, k + 1));
}

int main(int argc, char** argv) {
  int n = argc > 1 ? atoi(argv[1]) : 160;
  int steps = argc > 2 ? atoi(argv[2]) : 850;
  if (n < 3 || steps < 0) {
    fprintf(stderr, "usage: stencil3d [n] [steps]\n");
    return 1;
  }
  size_t cells = (size_t)n * n * n;
  float* a = calloc(cells, sizeof *a);
  float* b = calloc(cells, sizeof *b);
  if (!a || !b) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  /* Two drops of ink. */
  for (int i = -3; i <= 3; i++)
    for (int j = -3; j <= 3; j++)
      for (int k = -3; k <= 3; k++) {
        if (n < 20) continue;
        AT(a, n / 2 + i, n / 2 + j, n / 2 + k) = 100.0f;
        AT(a, n / 4 + i, n / 4 + j, n / 3 + k) = 40.0f;
      }
  for (int t = 0; t < steps; t++) {
    step(n, b, a, 0.4f, 0.1f);
    float* swap = a;
    a = b;
    b = swap;
  }

  double sum = 0.0;
  float peak = 0.0f;
  for (size_t c = 0; c < cells; c++) {
    sum += a[c];
    if (a[c] > peak) peak = a[c];
  }
  printf("n = %d, steps = %d\n", n, steps);
  printf("total = %.12f, peak = %.9g\n", sum, peak);
  for (int k = 0; k < 6; k++) printf("a[%d] = %.9g\n", k, AT(a, n / 2, n / 2, k * (n - 1) / 5));
  free(a);
  free(b);
  return 0;
}

/* The heat equation of bench/programs/heat3d.c for gigabytes: layers that start as one random layer, the colder the
   higher, and a sample of the result. Usage: heat3d [n] [pairs of steps] [FILE for all bytes] */
#include "bench/gpu/sample.h"

static void step(int n, double from[n][n][n], double to[n][n][n]) {
#pragma omp parallel for
  for (int i = 1; i < n - 1; i++)
    for (int j = 1; j < n - 1; j++)
      for (int k = 1; k < n - 1; k++)
        to[i][j][k] = 0.125 * (from[i + 1][j][k] - 2.0 * from[i][j][k] + from[i - 1][j][k]) +
                      0.125 * (from[i][j + 1][k] - 2.0 * from[i][j][k] + from[i][j - 1][k]) +
                      0.125 * (from[i][j][k + 1] - 2.0 * from[i][j][k] + from[i][j][k - 1]) + from[i][j][k];
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 256);
  int pairs = size_argument(argc, argv, 2, 10);
  size_t layer = (size_t)n * n, points = layer * n;
  double* a = allocate(points, sizeof *a);
  double* b = allocate(points, sizeof *b);
  double* start = allocate(layer, sizeof *start);
  fill_random(start, layer, 0, 100, 1);
  for (int i = 0; i < n; i++) {
    double warmth = 1.0 - (double)i / n;
    for (size_t p = 0; p < layer; p++) a[i * layer + p] = b[i * layer + p] = warmth * start[p];
  }
  for (int s = 0; s < pairs; s++) {
    step(n, (void*)a, (void*)b);
    step(n, (void*)b, (void*)a);
  }
  print_sample("heat", a, points * sizeof *a);
  printf("middle %a\n", a[points / 2 + layer / 2 + n / 2]);
  write_all(argc, argv, 3, a, points * sizeof *a);
}

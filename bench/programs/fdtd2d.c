/* Finite differences in the time domain: electric and magnetic field on staggered grids. Usage: fdtd2d [n] [steps] */
#include "program.h"

static void step(int n, double source, double ex[n][n], double ey[n][n], double hz[n][n]) {
  for (int j = 0; j < n; j++) ey[0][j] = source;
#pragma omp parallel for
  for (int i = 1; i < n; i++)
    for (int j = 0; j < n; j++) ey[i][j] = ey[i][j] - 0.5 * (hz[i][j] - hz[i - 1][j]);
#pragma omp parallel for
  for (int i = 0; i < n; i++)
    for (int j = 1; j < n; j++) ex[i][j] = ex[i][j] - 0.5 * (hz[i][j] - hz[i][j - 1]);
#pragma omp parallel for
  for (int i = 0; i < n - 1; i++)
    for (int j = 0; j < n - 1; j++) hz[i][j] = hz[i][j] - 0.7 * (ex[i][j + 1] - ex[i][j] + ey[i + 1][j] - ey[i][j]);
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 1400);
  int steps = size_argument(argc, argv, 2, 350);
  size_t points = (size_t)n * n;
  double* ex = allocate(points, sizeof *ex);
  double* ey = allocate(points, sizeof *ey);
  double* hz = allocate(points, sizeof *hz);
  fill_random(ex, points, -1, 1, 1);
  fill_random(ey, points, -1, 1, 2);
  fill_random(hz, points, -1, 1, 3);
  for (int t = 0; t < steps; t++) step(n, t % 50 / 50.0, (void*)ex, (void*)ey, (void*)hz);
  print_checksum("ex", ex, points * sizeof *ex);
  print_checksum("ey", ey, points * sizeof *ey);
  print_checksum("hz", hz, points * sizeof *hz);
}

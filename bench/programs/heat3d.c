/* Heat equation in three dimensions, explicit steps. Usage: heat3d [n] [steps] */
#include "program.h"

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
  int n = size_argument(argc, argv, 1, 160);
  int steps = size_argument(argc, argv, 2, 150);
  size_t points = (size_t)n * n * n;
  double* a = allocate(points, sizeof *a);
  double* b = allocate(points, sizeof *b);
  fill_random(a, points, 0, 100, 1);
  memcpy(b, a, points * sizeof *a);
  for (int s = 0; s < steps; s++) {
    step(n, (void*)a, (void*)b);
    step(n, (void*)b, (void*)a);
  }
  print_checksum("heat", a, points * sizeof *a);
}

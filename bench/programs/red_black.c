/* Successive over-relaxation of the Poisson equation, red points and black points in turn.
   Usage: red_black [n] [rounds] */
#include "program.h"

static void relax(int n, double omega, int colour, double u[n][n], double f[n][n]) {
#pragma omp parallel for
  for (int i = 1; i < n - 1; i++) {
    for (int j = 1 + (i + colour) % 2; j < n - 1; j += 2) {
      double average = 0.25 * (u[i - 1][j] + u[i + 1][j] + u[i][j - 1] + u[i][j + 1] - f[i][j]);
      u[i][j] += omega * (average - u[i][j]);
    }
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 1500);
  int rounds = size_argument(argc, argv, 2, 750);
  double* u = allocate((size_t)n * n, sizeof *u);
  double* f = allocate((size_t)n * n, sizeof *f);
  fill_random(u, (size_t)n * n, 0, 1, 1);
  fill_random(f, (size_t)n * n, -1, 1, 2);
  for (int round = 0; round < rounds; round++) {
    relax(n, 1.7, 0, (void*)u, (void*)f);
    relax(n, 1.7, 1, (void*)u, (void*)f);
  }
  print_checksum("u", u, (size_t)n * n * sizeof *u);
}

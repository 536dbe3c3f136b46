/* Power iteration on a sparse matrix in compressed rows. Usage: sparse_matvec [rows] [entries a row] [rounds] */
#include <math.h>

#include "program.h"

static void product(int n, const int* start, const int* column, const double* value, const double* x, double* y) {
#pragma omp parallel for
  for (int i = 0; i < n; i++) {
    double sum = 0.0;
    for (int k = start[i]; k < start[i + 1]; k++) sum += value[k] * x[column[k]];
    y[i] = sum;
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 400000);
  int each = size_argument(argc, argv, 2, 16);
  int rounds = size_argument(argc, argv, 3, 150);
  int* start = allocate((size_t)n + 1, sizeof *start);
  int* column = allocate((size_t)n * each * 2, sizeof *column);
  double* value = allocate((size_t)n * each * 2, sizeof *value);
  double* x = allocate(n, sizeof *x);
  double* y = allocate(n, sizeof *y);
  uint64_t seed = 1;
  start[0] = 0;
  for (int i = 0; i < n; i++) {
    int entries = 1 + (int)(random_bits(&seed) % (2 * (unsigned)each - 1));
    start[i + 1] = start[i] + entries;
    for (int k = start[i]; k < start[i + 1]; k++) {
      column[k] = (int)(((unsigned)i + random_bits(&seed) % 20000) % (unsigned)n);
      value[k] = random_between(&seed, 0, 1);
    }
  }
  fill_random(x, n, 0, 1, 2);
  for (int r = 0; r < rounds; r++) {
    product(n, start, column, value, x, y);
    double most = 0.0;
    for (int i = 0; i < n; i++) most = fmax(most, y[i]);
    for (int i = 0; i < n; i++) x[i] = y[i] / most;
  }
  print_checksum("x", x, n * sizeof *x);
}

/* LU decomposition with partial pivoting, in place. Usage: lu [n] */
#include <math.h>

#include "program.h"

static int decompose(int n, double* a, int* pivots) {
  for (int k = 0; k < n; k++) {
    int pivot = k;
    for (int i = k + 1; i < n; i++)
      if (fabs(a[(size_t)i * n + k]) > fabs(a[(size_t)pivot * n + k])) pivot = i;
    pivots[k] = pivot;
    if (a[(size_t)pivot * n + k] == 0.0) return 0;
    if (pivot != k) {
      for (int j = 0; j < n; j++) {
        double kept = a[(size_t)k * n + j];
        a[(size_t)k * n + j] = a[(size_t)pivot * n + j];
        a[(size_t)pivot * n + j] = kept;
      }
    }
#pragma omp parallel for
    for (int i = k + 1; i < n; i++) {
      double factor = a[(size_t)i * n + k] / a[(size_t)k * n + k];
      a[(size_t)i * n + k] = factor;
      for (int j = k + 1; j < n; j++) a[(size_t)i * n + j] -= factor * a[(size_t)k * n + j];
    }
  }
  return 1;
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 2400);
  double* a = allocate((size_t)n * n, sizeof *a);
  int* pivots = allocate(n, sizeof *pivots);
  fill_random(a, (size_t)n * n, -1, 1, 1);
  printf("%s\n", decompose(n, a, pivots) ? "regular" : "singular");
  print_checksum("lu", a, (size_t)n * n * sizeof *a);
  print_checksum("pivots", pivots, n * sizeof *pivots);
}

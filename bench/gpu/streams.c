/* Loops that do next to nothing to each number of long arrays, again and again with another factor. (A plain copy is
   none of them: gcc -O2 makes a call of memcpy of it.) Usage: streams scale|triad|saxpy [elements] [rounds] [FILE for
   all bytes] */
#include "bench/gpu/sample.h"

static void scale(size_t n, double factor, const double* from, double* to) {
#pragma omp parallel for
  for (size_t i = 0; i < n; i++) to[i] = factor * from[i];
}

static void triad(size_t n, double factor, const double* b, const double* c, double* a) {
#pragma omp parallel for
  for (size_t i = 0; i < n; i++) a[i] = b[i] + factor * c[i];
}

static void saxpy(size_t n, float factor, const float* x, float* y) {
#pragma omp parallel for
  for (size_t i = 0; i < n; i++) y[i] = factor * x[i] + y[i];
}

static double* doubles(size_t n, double first) {
  double* values = allocate(n, sizeof *values);
  for (size_t i = 0; i < n; i++) values[i] = first + 1e-6 * (double)i;
  return values;
}

static float* floats(size_t n, float first) {
  float* values = allocate(n, sizeof *values);
  for (size_t i = 0; i < n; i++) values[i] = first + 1e-6f * (float)i;
  return values;
}

int main(int argc, char** argv) {
  const char* kind = argc > 1 ? argv[1] : "triad";
  size_t n = size_argument(argc, argv, 2, 20000000);
  int rounds = size_argument(argc, argv, 3, 20);
  void* result = NULL;
  size_t bytes = n * sizeof(double);
  if (strcmp(kind, "scale") == 0) {
    double *from = doubles(n, 1.0), *to = doubles(n, 0.0);
    for (int r = 0; r < rounds; r++) scale(n, 1.0 / (r + 3), from, to);
    result = to;
  } else if (strcmp(kind, "triad") == 0) {
    double *b = doubles(n, 1.0), *c = doubles(n, 2.0), *a = doubles(n, 0.0);
    for (int r = 0; r < rounds; r++) triad(n, 1.0 / (r + 3), b, c, a);
    result = a;
  } else if (strcmp(kind, "saxpy") == 0) {
    float *x = floats(n, 1.0f), *y = floats(n, 0.0f);
    for (int r = 0; r < rounds; r++) saxpy(n, 1.0f / (float)(r + 3), x, y);
    result = y;
    bytes = n * sizeof(float);
  } else {
    fprintf(stderr, "%s: no stream is called %s\n", argv[0], kind);
    return 2;
  }
  print_sample(kind, result, bytes);
  write_all(argc, argv, 4, result, bytes);
}

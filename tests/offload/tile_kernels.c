/* Loops whose passes and inner iterations read some things alike, so that a thread of a grid had better do several of them: and some
   where it had not. Each kernel: rows x columns elements at out, from what lies at a and b, with `terms` steps for each. */
#include <stddef.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(double *out, const double *a, const double *b, long rows, long columns, long terms)

KERNEL(tile_product) {
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < columns; j++) {
      double sum = 0;
      for (long k = 0; k < terms; k++) sum += a[i * terms + k] * b[k * columns + j];
      out[i * columns + j] = sum;
    }
}

/* Neighbouring passes write side by side. */
KERNEL(tile_by_columns) {
  for (long j = 0; j < columns; j++)
    for (long i = 0; i < rows; i++) {
      double sum = 0;
      for (long k = 0; k < terms; k++) sum += a[i * terms + k] * b[k * columns + j];
      out[i * columns + j] = sum;
    }
}

/* A product for each 50 rows. */
KERNEL(tile_batches) {
  for (long n = 0; n < rows / 50; n++)
    for (long i = 0; i < 50; i++)
      for (long j = 0; j < columns; j++) {
        double sum = 0;
        for (long k = 0; k < terms; k++) sum += a[(n * 50 + i) * terms + k] * b[k * columns + j];
        out[(n * 50 + i) * columns + j] = sum;
      }
}

/* Small numbers, and the greatest of sums. */
KERNEL(tile_bytes) {
  const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
  int *to = (int *)out;
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < 2 * columns; j++) {
      int most = -1;
      for (long k = 0; k < terms; k++) {
        int sum = x[i * terms + k] + y[k * columns + j];
        most = sum > most ? sum : most;
      }
      to[i * 2 * columns + j] = most;
    }
}

/* What was there is part of the result. */
KERNEL(tile_add_product) {
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < columns; j++) {
      double sum = 0;
      for (long k = 0; k < terms; k++) sum += a[i * terms + k] * b[k * columns + j];
      out[i * columns + j] = out[i * columns + j] * 0.5 + sum;
    }
}

/* Sums in memory. */
KERNEL(tile_rows_of_sums) {
  for (long i = 0; i < rows; i++) {
    for (long j = 0; j < columns; j++) out[i * columns + j] = 1;
    for (long k = 0; k < terms; k++)
      for (long j = 0; j < columns; j++) out[i * columns + j] -= a[i * terms + k] * b[k * columns + j];
  }
}

/* Each row is longer by one; the first is 40 long. */
KERNEL(tile_triangle) {
  for (long i = 0; i < rows; i++)
    for (long j = 0; j <= i + 39; j++) {
      double sum = 0;
      for (long k = 0; k < terms; k++) sum += a[i * terms + k] * b[j * terms + k];
      out[i * columns + j] = sum;
    }
}

/* Rows differ in how many terms they have. */
KERNEL(tile_growing_sums) {
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < columns; j++) {
      double sum = 0;
      for (long k = 0; k <= i; k++) sum += a[i * terms + k] * b[k * columns + j];
      out[i * columns + j] = sum;
    }
}

/* Neighbouring rows read most of a window alike. */
KERNEL(tile_window) {
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < columns; j++) {
      double sum = 0;
      for (long k = 0; k < 9; k++) sum += a[k] * b[(i + k) * columns + j];
      out[i * columns + j] = sum;
    }
  (void)terms;
}

/* One dimension: all that passes share are the terms. */
KERNEL(tile_filter) {
  for (long i = 0; i < rows * columns; i++) {
    double sum = 0;
    for (long k = 0; k < terms; k++) sum += a[k] * b[i + k];
    out[i] = sum;
  }
}

/* A branch on data. */
KERNEL(tile_branch) {
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < columns; j++) {
      double sum = 0;
      for (long k = 0; k < terms; k++) {
        double d = a[i * terms + k] - b[k * columns + j];
        if (d > 0.5) sum = sum * 0.75 + d / (1 + d * d);
      }
      out[i * columns + j] = sum;
    }
}

/* Nothing is read twice but by neighbours. */
KERNEL(tile_stream) {
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < columns; j++) out[i * columns + j] = a[i] + b[i * columns + j] * 0.25 + b[(i + 1) * columns + j];
  (void)terms;
}

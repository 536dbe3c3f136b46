/* Loops whose passes need each other's results, but only in their own columns; and some where that is not quite so.
   Each kernel: a matrix of `rows` rows of `n` columns at out, other data at in. */
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(double *out, const double *in, int rows, int n)
#define X(i, j) out[(long)(i) * n + (j)]
#define L(i, k) in[(long)(i) * rows + (k)]

KERNEL(ordered_lower_solve) {
  for (int i = 0; i < rows; i++) {
    for (int k = 0; k < i; k++)
      for (int j = 0; j < n; j++) X(i, j) -= L(i, k) * X(k, j);
    for (int j = 0; j < n; j++) X(i, j) /= L(i, i);
  }
}

KERNEL(ordered_upper_solve) {
  for (int i = rows - 1; i >= 0; i--) {
    for (int k = i + 1; k < rows; k++)
      for (int j = 0; j < n; j++) X(i, j) -= L(i, k) * X(k, j);
    for (int j = 0; j < n; j++) X(i, j) /= L(i, i);
  }
}

/* The row that is written is among those that are read. */
KERNEL(ordered_with_itself) {
  for (int i = 0; i < rows; i++) {
    for (int k = 0; k <= i; k++)
      for (int j = 0; j < n; j++) X(i, j) = 0.5 * X(i, j) - L(i, k) * X(k, j);
  }
}

/* In the middle of them. */
KERNEL(ordered_past_itself) {
  for (int i = 0; i < rows - 5; i++) {
    for (int k = i + 4; k >= 0; k--)
      for (int j = 0; j < n; j++) X(i, j) = 0.5 * X(i, j) - L(i, k) * X(k, j);
  }
}

KERNEL(ordered_rows_backwards) {
  for (int i = 0; i < rows; i++) {
    for (int k = i - 1; k >= 0; k--)
      for (int j = 0; j < n; j++) X(i, j) = 0.5 * X(i, j) - L(i, k) * X(k, j);
  }
}

/* The sums stay in registers. */
KERNEL(ordered_solve_by_columns) {
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < n; j++) {
      double sum = X(i, j);
      for (int k = 0; k < i; k++) sum -= L(i, k) * X(k, j);
      X(i, j) = sum / L(i, i);
    }
  }
}

KERNEL(ordered_column_sums) {
  (void)in;
  for (int i = 1; i < rows; i++)
    for (int j = 0; j < n; j++) X(i, j) += X(i - 1, j) * 0.5;
}

KERNEL(ordered_decay) {
  for (int t = 0; t < rows; t++)
    for (int j = 0; j < n; j++) out[j] = out[j] * 0.999 + in[j];
}

KERNEL(ordered_words) {
  uint32_t *words = (uint32_t *)out;
  const uint32_t *add = (const uint32_t *)in;
  for (int t = 0; t < rows; t++)
    for (int j = 0; j < n; j++) words[j] = words[j] * 1664525u + add[j];
}

KERNEL(ordered_floats) {
  float *values = (float *)out;
  const float *by = (const float *)in;
  for (int i = 1; i < rows; i++)
    for (int j = 0; j < n; j++) values[(long)i * n + j] += by[i] * values[(long)(i - 1) * n + j];
}

/* Each element needs one of another column. */
KERNEL(ordered_skewed) {
  (void)in;
  for (int i = 1; i < rows; i++)
    for (int j = 1; j < n; j++) X(i, j) += X(i - 1, j - 1) * 0.5;
}

/* Rows that overlap: the last columns of one are the first of the next. */
KERNEL(ordered_overlapping_rows) {
  (void)in;
  const long pitch = n - 3;
  for (int i = 1; i < rows; i++)
    for (int j = 0; j < n; j++) out[i * pitch + j] += out[(i - 1) * pitch + j] * 0.5;
}

/* A column is read by all. */
KERNEL(ordered_pivot_column) {
  (void)in;
  for (int i = 1; i < rows; i++)
    for (int j = 0; j < n; j++) X(i, j) += X(i - 1, j) * X(i - 1, 5);
}

/* What follows needs what comes later in the array, as it was. */

KERNEL(ordered_shift) {
  (void)in;
  for (long i = 0; i < (long)rows * n - 1; i++) out[i] = out[i] * 0.75 + out[i + 1] * 0.5;
}

KERNEL(ordered_knapsack) {
  (void)in;
  int *best = (int *)out;
  const int weight = 1000 + n % 7;
  for (int c = rows * n - 1; c >= weight; c--) {
    int with = best[c - weight] + 5;
    if (with > best[c]) best[c] = with;
  }
}

KERNEL(ordered_far_and_near) {
  (void)in;
  float *values = (float *)out;
  for (int i = 0; i < rows * n; i++) values[i] = values[i + 1] - values[i + 40] * 0.5f + values[i + 4000];
}

/* Each element is written before the one behind it is read. */
KERNEL(ordered_written_first) {
  double *copy = out + (long)rows * n / 2;
  for (int i = 0; i < rows * n / 2 - 1; i++) {
    out[i] = in[i % 64];
    copy[i] = out[i + 1] * 2;
  }
}

KERNEL(ordered_recurrence) {
  (void)in;
  for (long i = 3; i < (long)rows * n; i++) out[i] += out[i - 3] * 0.5;
}

/* Loops whose passes fill a small array of their own, in short loops that read tables of constants; and what only looks like
   that. Each kernel: n elements (or n x n) at to, as many at from. */
#include <stddef.h>
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(double *to, const double *from, int n, int by)

static const int kDx[5] = {0, 1, -1, 0, 0}, kDy[5] = {0, 0, 0, 1, -1}, kOpposite[5] = {0, 2, 1, 4, 3};
static const double kWeight[5] = {1.0 / 3, 1.0 / 6, 1.0 / 6, 1.0 / 6, 1.0 / 6};

/* Five values a cell on a torus: collected from the neighbours, then turned round or mixed. */
KERNEL(small_lattice) {
  for (int y = 0; y < n; y++)
    for (int x = 0; x < n; x++) {
      double f[5], sum = 0;
      for (int d = 0; d < 5; d++) f[d] = from[5 * ((size_t)((y - kDy[d] + n) % n) * n + (x - kDx[d] + n) % n) + d];
      double *out = to + 5 * ((size_t)y * n + x);
      if (f[0] < by) {
        for (int d = 0; d < 5; d++) out[kOpposite[d]] = f[d];
        continue;
      }
      for (int d = 0; d < 5; d++) sum += kWeight[d] * f[d];
      for (int d = 0; d < 5; d++) out[d] = f[d] + 0.75 * (sum - f[d]);
    }
}

/* Two ways to the next element, of which one leaves `kept` as it is. */
void NAME(small_two_ways)(double *to, const double *from, int n, int by, double *last) {
  double kept = 0;
  for (int i = 0; i < n; i++) {
    if (from[i] < by) {
      to[i] = from[i] * 0.5;
      continue;
    }
    kept = from[i] + 1;
    to[i] = kept * kept + from[i] / 3;
  }
  last[0] = kept;
}

/* 3 x 3 matrices: m * m, then its transpose added, through two arrays. */
KERNEL(small_matrices) {
  for (int i = 0; i < n / 9; i++) {
    double a[3][3], b[3][3];
    for (int r = 0; r < 3; r++)
      for (int c = 0; c < 3; c++) a[r][c] = from[9 * i + 3 * r + c];
    for (int r = 0; r < 3; r++)
      for (int c = 0; c < 3; c++) {
        b[r][c] = 0;
        for (int k = 0; k < 3; k++) b[r][c] += a[r][k] * a[k][c];
      }
    for (int r = 0; r < 3; r++)
      for (int c = 0; c < 3; c++) to[9 * i + 3 * r + c] = b[r][c] + b[c][r] * by;
  }
}

/* What the caller's array holds afterwards is the last pass's. */
void NAME(small_left_behind)(double *to, const double *from, int n, int by, double *last) {
  for (int i = 0; i < n; i++) {
    double sum = by;
    for (int k = 0; k < 6; k++) last[k] = from[i] * (k + 1);
    for (int k = 0; k < 6; k++) sum = sum * 0.5 + last[5 - k];
    to[i] = sum;
  }
}

/* Only some passes fill it; the others leave what they find. */
void NAME(small_sometimes)(double *to, const double *from, int n, int by, double *last) {
  for (int i = 0; i < n; i++) {
    if (from[i] < by) {
      for (int k = 0; k < 6; k++) last[k] = from[i] * (k + 1);
    }
    to[i] = from[i] + i;
  }
}

/* Each pass reads what the one before it left: not its own array. */
void NAME(small_carried)(double *to, const double *from, int n, int by, double *last) {
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < 6; k++) last[k] = last[k] * 0.5 + from[i] * by;
    to[i] = last[3];
  }
}

/* Counts in a few bins. */
void NAME(small_counts)(double *to, const double *from, int n, int by, double *last) {
  uint64_t *bins = (uint64_t *)last;
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < 6; k++) bins[k] += from[i] * by > k - 3;
    to[i] = from[i] + i;
  }
}

/* Neighbours on a ring, a few of them also far away. */
KERNEL(small_ring) {
  for (int i = 0; i < n; i++) to[i] = from[(i + 1) % n] - from[(i - 1 + n) % n] + from[(i + by) % n];
}
KERNEL(small_ring_unsigned) {
  for (unsigned i = 0; i < (unsigned)n; i++) to[i] = from[(i + 7) % (unsigned)n] + from[(i * 3 + (unsigned)by) % (unsigned)n];
}
/* Numbers below zero leave remainders below zero. */
KERNEL(small_ring_negative) {
  for (int i = 0; i < n; i++) to[i] = from[n / 2 + (i - n / 2) % (n / 3) + by] * 2;
}
/* In place: pass i reads what an earlier one wrote, far behind it. */
KERNEL(small_ring_in_place) {
  for (int i = 0; i < n; i++) to[i] = to[(i + n - by) % n] * 0.5 + from[i];
}

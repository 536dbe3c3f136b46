/* Tables of `rows` rows of `n` elements, filled in place from the rows and the elements before. */
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(double *t, const double *in, int rows, int n)

KERNEL(wave_nine_points) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows - 1; i++)
    for (int j = 1; j < n - 1; j++)
      a[i][j] = (a[i - 1][j - 1] + a[i - 1][j] + a[i - 1][j + 1] + a[i][j - 1] + a[i][j] + a[i][j + 1] +
                 a[i + 1][j - 1] + a[i + 1][j] + a[i + 1][j + 1]) /
                9.0;
}

KERNEL(wave_five_points) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows - 1; i++)
    for (int j = 1; j < n - 1; j++)
      a[i][j] = 0.25 * (a[i - 1][j] + a[i][j - 1] + a[i][j + 1] + a[i + 1][j]) - 0.125 * in[i * n + j];
}

KERNEL(wave_floats) {
  float(*a)[n] = (void *)t;
  for (int i = 1; i < rows; i++)
    for (int j = 1; j < n; j++) a[i][j] = (a[i - 1][j] * 0.5f + a[i][j - 1]) * 0.75f + a[i - 1][j - 1] * a[i][j];
}

/* What is read of the row above lies ahead, just not too far. */
KERNEL(wave_ahead) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows; i++)
    for (int j = 1; j < n - 3; j++) a[i][j] = a[i][j - 1] * 0.5 - a[i - 1][j + 3] * 0.25 + a[i][j];
}

KERNEL(wave_far_ahead) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows; i++)
    for (int j = 1; j < n - 9; j++) a[i][j] = a[i][j - 1] * 0.5 - a[i - 1][j + 9] * 0.25 + a[i][j];
}

KERNEL(wave_two_above) {
  double(*a)[n] = (void *)t;
  for (int i = 2; i < rows; i++)
    for (int j = 1; j < n - 4; j++)
      a[i][j] = a[i][j - 1] * 0.5 - a[i - 2][j + 4] * 0.25 + a[i - 1][j] * 0.125 + a[i][j];
}

/* Old values from below, which must be read before they are written. */
KERNEL(wave_below) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows - 1; i++)
    for (int j = 3; j < n; j++) a[i][j] = a[i][j - 1] * 0.5 + a[i - 1][j] * 0.25 - a[i + 1][j - 3] * 0.125;
}

KERNEL(wave_backwards) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows; i++)
    for (int j = n - 2; j >= 1; j--) a[i][j] = a[i][j + 1] * 0.5 + a[i - 1][j - 1] * 0.25 + a[i][j];
}

/* gcc leaves this inner loop ahead of where it counts. */
KERNEL(wave_mirrored) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows; i++)
    for (long j = 1; j < n - 1; j++) {
      double least = a[i - 1][j - 1] < a[i][j] ? a[i - 1][j - 1] : a[i][j];
      a[i][j] = (least + a[i][j - 1] + a[i - 1][j + 1] + a[i - 1][j - 1]) * 0.25 + in[i * n + j] * in[i * n + n - j];
    }
}

KERNEL(wave_upwards) {
  double(*a)[n] = (void *)t;
  for (int i = rows - 2; i >= 0; i--)
    for (int j = 1; j < n - 1; j++) a[i][j] = a[i][j - 1] * 0.5 + a[i + 1][j + 1] * 0.25 + a[i][j];
}

KERNEL(wave_columns) {
  double(*a)[n] = (void *)t;
  for (int j = 1; j < n; j++)
    for (int i = 1; i < rows; i++) a[i][j] = a[i - 1][j] * 0.5 + a[i][j - 1] * 0.25 + a[i][j];
}

/* What a row does ahead of its loop and behind it. */
KERNEL(wave_borders) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows; i++) {
    double sum = a[i][0] = in[i] + a[i - 1][1];
    for (int j = 1; j < n - 1; j++) {
      a[i][j] = a[i - 1][j] * 0.5 + a[i][j - 1] * 0.25;
      sum += a[i][j];
    }
    a[i][n - 1] = sum * 0.01 + a[i - 1][n - 1];
  }
}

/* The end of the row above is needed at the start of the next: no wavefront. */
KERNEL(wave_snake) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows; i++) {
    a[i][0] = a[i - 1][n - 1];
    for (int j = 1; j < n; j++) a[i][j] = a[i - 1][j] * 0.5 + a[i][j - 1] * 0.25;
  }
}

/* Rows that overlap: each begins seven elements behind the one before. */
KERNEL(wave_overlapping) {
  for (int i = 1; i < rows; i++)
    for (int j = 1; j < n; j++) t[i * 7 + j] = t[i * 7 + j - 1] * 0.5 + t[(i - 1) * 7 + j] * 0.25;
}

KERNEL(wave_distance) {
  int(*d)[n] = (void *)t;
  const char *a = (const char *)in, *b = a + rows;
  for (int i = 1; i < rows; i++) {
    d[i][0] = i;
    for (int j = 1; j < n; j++) {
      int least = d[i - 1][j - 1] + (a[i] % 8 != b[j] % 8);
      if (d[i - 1][j] + 1 < least) least = d[i - 1][j] + 1;
      if (d[i][j - 1] + 1 < least) least = d[i][j - 1] + 1;
      d[i][j] = least;
    }
  }
}

KERNEL(wave_alignment) {
  int(*d)[n] = (void *)t;
  const char *a = (const char *)in, *b = a + rows;
  for (int i = 1; i < rows; i++) {
    d[i][0] = 0;
    for (int j = 1; j < n; j++) {
      int value = d[i - 1][j - 1] + (a[i] % 4 == b[j] % 4 ? 5 : -4);
      int gap = d[i - 1][j] > d[i][j - 1] ? d[i - 1][j] - 6 : d[i][j - 1] - 6;
      if (gap > value) value = gap;
      d[i][j] = value < 0 ? 0 : value;
    }
  }
}

KERNEL(wave_sometimes) {
  double(*a)[n] = (void *)t;
  for (int i = 1; i < rows; i++) {
    double last = a[i][0];
    for (int j = 1; j < n; j++) {
      if (a[i - 1][j] < in[j]) {
        last = last * 0.5 + a[i - 1][j];
        a[i][j] = last;
      } else if (a[i][j] > 0.5) {
        last -= in[i] * a[i - 1][j - 1];
      }
    }
  }
}

KERNEL(wave_divisions) {
  int32_t(*a)[n] = (void *)t;
  const int32_t *by = (const int32_t *)in;
  for (int i = 1; i < rows; i++)
    for (int j = 1; j < n; j++) a[i][j] = (a[i - 1][j] + a[i][j - 1] + i) / ((by[j] & 7) + 1) + a[i][j] % 1000;
}

KERNEL(wave_bytes) {
  uint8_t(*a)[n] = (void *)t;
  for (int i = 1; i < rows; i++)
    for (int j = 1; j < n; j++) a[i][j] = (uint8_t)(a[i - 1][j] + a[i][j - 1] * 3 + a[i][j]);
}

/* Two rows that take turns, at the start of the table; where the last one is tells what follows. */
KERNEL(wave_turns) {
  int *above = (int *)t, *row = above + n;
  const char *a = (const char *)in, *b = a + rows;
  for (int i = 1; i < rows; i++) {
    row[0] = i;
    for (int j = 1; j < n; j++) {
      int least = above[j - 1] + (a[i] % 8 != b[j] % 8);
      if (above[j] + 1 < least) least = above[j] + 1;
      if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
      row[j] = least;
    }
    int *kept = above;
    above = row;
    row = kept;
  }
  ((int *)t)[3 * n] = above[n - 1];
  ((int *)t)[3 * n + 1] = row[n - 2];
}

KERNEL(wave_turns_floats) {
  double *above = t, *row = t + n;
  for (int i = 1; i < rows; i++) {
    for (int j = 1; j < n - 1; j++) row[j] = (above[j - 1] + above[j] + above[j + 1] + row[j - 1]) * 0.25 + in[i * n + j];
    double *kept = above;
    above = row;
    row = kept;
  }
  t[3 * n] = above[n / 2];
}

/* Each row reads what is in its own place from two passes before. */
KERNEL(wave_turns_in_place) {
  double *above = t, *row = t + n;
  for (int i = 1; i < rows; i++) {
    for (int j = 1; j < n - 2; j++) row[j] = above[j] * 0.5 + row[j - 1] * 0.25 + row[j + 2] * 0.125;
    double *kept = above;
    above = row;
    row = kept;
  }
}

KERNEL(wave_turns_overlapping) {
  double *above = t, *row = t + 5;
  for (int i = 1; i < rows; i++) {
    for (int j = 1; j < n - 1; j++) row[j] = above[j] * 0.5 + row[j - 1] * 0.25 + in[j];
    double *kept = above;
    above = row;
    row = kept;
  }
}

KERNEL(wave_turns_alone) {
  double *from = t, *to = t + n;
  for (int i = 1; i < rows; i++) {
    for (int j = 1; j < n - 1; j++) to[j] = (from[j - 1] + from[j] + from[j + 1]) * 0.33 + in[j] * 0.01;
    double *kept = from;
    from = to;
    to = kept;
  }
  t[2 * n + 5] = from[5];
}

/* Sums and extremes beside the table. */
KERNEL(wave_checked) {
  uint32_t(*a)[n] = (void *)t;
  uint32_t sum = 5, most = 3;
  for (int i = 1; i < rows; i++)
    for (int j = 1; j < n; j++) {
      a[i][j] = a[i - 1][j] * 3 + (a[i][j - 1] >> 1);
      sum += a[i][j];
      if (a[i][j] > most) most = a[i][j];
    }
  a[0][0] = sum;
  a[0][1] = most;
  (void)in;
}

KERNEL(wave_best) {
  int(*d)[n] = (void *)t;
  const char *a = (const char *)in, *b = a + rows;
  int best = 0, best_i = -7, best_j = -9;
  for (int i = 1; i < rows; i++) {
    d[i][0] = 0;
    for (int j = 1; j < n; j++) {
      int value = d[i - 1][j - 1] + (a[i] % 4 == b[j] % 4 ? 5 : -4);
      int gap = d[i - 1][j] > d[i][j - 1] ? d[i - 1][j] - 6 : d[i][j - 1] - 6;
      if (gap > value) value = gap;
      if (value < 0) value = 0;
      d[i][j] = value;
      if (value > best) {
        best = value;
        best_i = i;
        best_j = j;
      }
    }
  }
  d[0][0] = best;
  d[0][1] = best_i;
  d[0][2] = best_j;
}

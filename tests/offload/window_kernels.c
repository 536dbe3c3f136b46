/* Loops that read at addresses which depend on what they loaded. Each kernel: n results at out, data at in, indices at index,
   among them where rows begin (n + 1, or n pairs) at start. */
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(double *out, const double *in, const int *index, const int *start, int n)

KERNEL(windows_gather) {
  for (int i = 0; i < n; i++) out[i] = in[index[i]] * 1.5 + i;
}

/* A sparse matrix by rows: its values lie behind 1000 elements of the vector. */
KERNEL(windows_rows) {
  const double *values = in + 1000;
  for (int i = 0; i < n; i++) {
    double sum = 0;
    for (int k = start[i]; k < start[i + 1]; k++) sum += values[k] * in[index[k]];
    out[i] = sum;
  }
}

/* Rows in another order: how many entries there are is itself read through an index. */
KERNEL(windows_rows_in_order) {
  const double *values = in + 1000;
  for (int i = 0; i < n; i++) {
    int row = index[i] % n;
    double sum = i;
    for (int k = start[row]; k < start[row + 1]; k++) sum += values[k] * in[index[k]];
    out[i] = sum;
  }
}

KERNEL(windows_ragged) {
  for (int i = 0; i < n; i++) {
    double sum = 0;
    for (int k = 0; k < start[i + 1] - start[i]; k++) sum += in[2 * i + k];
    out[i] = sum;
  }
}

KERNEL(windows_twice) {
  for (int i = 0; i < n; i++) out[i] = in[index[index[i]]] - in[index[i]];
}

/* Stores only where what it read says so. */
KERNEL(windows_sometimes) {
  for (int i = 0; i < n; i++)
    if (in[index[i]] > 0.25) out[i] += 1;
}

/* Until something is found, starting where an index says. */
KERNEL(windows_until) {
  for (int i = 0; i < n; i++) {
    int k = index[i];
    while (in[k] < 0.75) k++;
    out[i] = k;
  }
}

/* To the end of a chain: index[k] follows k. */
KERNEL(windows_chain) {
  for (int i = 0; i < n; i++) {
    int k = start[i], length = 0;
    while (k > 0) {
      k = index[k];
      length++;
    }
    out[i] = length;
  }
}

KERNEL(windows_in_place) {
  for (int i = 0; i < n; i++) out[i] = out[index[i]] + 1;
}

KERNEL(windows_bytes) {
  const uint8_t *table = (const uint8_t *)in;
  uint16_t *to = (uint16_t *)out;
  for (int i = 0; i < n; i++) to[i] = (uint16_t)(table[index[i]] + 2 * table[index[i] + 1]);
}

/* An element of an array, chosen by comparing: a pointer that is null at first. */
KERNEL(windows_nearest) {
  const double *table = in + 1000;
  for (int i = 0; i < n; i++) {
    const double *nearest = 0;
    double distance = 0.5;
    for (const double *at = table; at != table + 180; at += 3) {
      double apart = at[0] < in[i] ? in[i] - at[0] : at[0] - in[i];
      if (apart < distance) {
        distance = apart;
        nearest = at;
      }
    }
    out[i] = nearest ? nearest[1] * distance : nearest - (const double *)0;
  }
}

KERNEL(windows_points) {
  for (int i = 0; i < n; i++) {
    const double *point = in + 3 * index[i];
    out[i] = point[0] * point[0] + point[1] * point[1] + point[2] * point[2];
  }
}

/* Loops that carry sums, counts, extremes and other reductions of integers, and some that only look like it. NAME adds what
   they were built with. */
#include <stddef.h>
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)

void NAME(sum_ints)(uint64_t *out, const int *v, int n) {
  unsigned sum = (unsigned)out[0];
  for (int i = 0; i < n; i++) sum += (unsigned)v[i];
  out[0] = sum;
}

void NAME(sum_wide)(uint64_t *out, const int *v, int n) {
  long sum = (long)out[0];
  for (int i = 0; i < n; i++) sum += v[i];
  out[0] = (uint64_t)sum;
}

void NAME(sum_bytes)(uint64_t *out, const uint8_t *v, int n) {
  unsigned sum = 0;
  uint8_t low = (uint8_t)out[1];
  for (int i = 0; i < n; i++) {
    sum += v[i];
    low = (uint8_t)(low + v[i] * v[i]);
  }
  out[0] = sum;
  out[1] = low;
}

void NAME(logic)(uint64_t *out, const int *v, int n) {
  unsigned all = (unsigned)out[0], any = (unsigned)out[1], odd = (unsigned)out[2];
  for (int i = 0; i < n; i++) {
    all &= (unsigned)v[i] | 0x1234567u;
    any |= (unsigned)v[i] & 0x7f0f00f0u;
    odd ^= (unsigned)v[i] * 3u;
  }
  out[0] = all;
  out[1] = any;
  out[2] = odd;
}

void NAME(extremes)(uint64_t *out, const int *v, int n) {
  int least = (int)out[0], most = (int)out[1];
  unsigned lowest = (unsigned)out[2], highest = (unsigned)out[3];
  for (int i = 0; i < n; i++) {
    unsigned u = (unsigned)v[i] * 2654435761u;
    least = v[i] < least ? v[i] : least;
    most = v[i] > most ? v[i] : most;
    lowest = u < lowest ? u : lowest;
    highest = u > highest ? u : highest;
  }
  out[0] = (uint64_t)least;
  out[1] = (uint64_t)most;
  out[2] = lowest;
  out[3] = highest;
}

void NAME(branchy_extremes)(uint64_t *out, const int *v, int n) {
  int least = (int)out[0];
  long most = (long)out[1];
  for (int i = 0; i < n; i++) {
    if (v[i] < least) least = v[i];
    if (v[i] * 3l > most) most = v[i] * 3l;
  }
  out[0] = (uint64_t)least;
  out[1] = (uint64_t)most;
}

void NAME(count_above)(uint64_t *out, const int *v, int n) {
  int count = (int)out[0], limit = (int)out[1];
  long below = 0;
  for (int i = 0; i < n; i++) {
    if (v[i] > limit) count++;
    below += v[i] <= limit;
  }
  out[0] = (uint64_t)count;
  out[1] = (uint64_t)below;
}

/* Counts of floats are exact too. */
void NAME(count_floats)(uint64_t *out, const float *v, int n) {
  unsigned count = 0;
  for (int i = 0; i < n; i++)
    if (v[i] * 1.5f > 0.25f) count += 3;
  out[0] = count;
}

void NAME(sum_some)(uint64_t *out, const int *v, int n) {
  unsigned sum = (unsigned)out[0], other = (unsigned)out[1];
  for (int i = 0; i < n; i++) {
    if (v[i] % 3 == 0)
      sum += (unsigned)v[i] >> 3;
    else if (v[i] & 1)
      sum -= (unsigned)(v[i] / 7);
    else
      other += (unsigned)i;
  }
  out[0] = sum;
  out[1] = other;
}

void NAME(sum_rows)(uint64_t *out, const int *v, int rows, int columns) {
  unsigned long sum = out[0];
  for (int y = 0; y < rows; y++)
    for (int x = 0; x < columns; x++) sum += (unsigned long)v[y * columns + x] * (unsigned long)(x ^ y);
  out[0] = sum;
}

void NAME(sum_triangle)(uint64_t *out, const int *v, int n) {
  unsigned sum = (unsigned)out[0];
  int most = (int)out[1];
  for (int y = n - 1; y > 0; y--)
    for (int x = 0; x < y; x++) {
      sum += (unsigned)v[y * n + x];
      if (v[x * n + y] > most) most = v[x * n + y];
    }
  out[0] = sum;
  out[1] = (uint64_t)most;
}

/* A sum beside what the loop writes. */
void NAME(scale_and_sum)(uint64_t *out, int *to, const int *from, int n) {
  unsigned sum = (unsigned)out[0];
  for (int i = 0; i < n; i++) {
    to[i] = from[i] * 3 + 1;
    sum += (unsigned)to[i];
  }
  out[0] = sum;
}

/* In place, with NaN among the data: what chunks have added is forgotten when the original does them again. */
void NAME(halve_and_count)(uint64_t *out, float *v, int n) {
  unsigned count = (unsigned)out[0];
  for (int i = 0; i < n; i++) {
    v[i] = v[i] * 0.5f;
    if (v[i] > 0.1f) count++;
  }
  out[0] = count;
}

/* Beside a value that only some pass sets. */
void NAME(sum_and_last)(uint64_t *out, const int *v, int n) {
  int last = (int)out[0];
  unsigned sum = (unsigned)out[1];
  for (int i = 0; i < n; i++) {
    if (v[i] > 0x70000000) last = v[i];
    sum += (unsigned)v[i];
  }
  out[0] = (uint64_t)last;
  out[1] = sum;
}

void NAME(sum_until)(uint64_t *out, const int *v, int n, int stop) {
  unsigned sum = (unsigned)out[0];
  int i = 0;
  for (; i < n; i++) {
    if (v[i] == stop) break;
    sum += (unsigned)v[i];
  }
  out[0] = sum;
  out[1] = (uint64_t)i;
}

/* As bench/programs/bit_mixing.c. */
void NAME(mix_words)(uint64_t *out, const uint32_t *words, int n) {
  uint32_t sum = 1, parity = 2, least = UINT32_MAX, most = 0;
  uint64_t bits = out[0];
  for (int i = 0; i < n; i++) {
    uint32_t x = words[i] + (uint32_t)out[6];
    x ^= x >> 16;
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    sum += x;
    parity ^= x * 3u;
    least = x < least ? x : least;
    most = x > most ? x : most;
    x -= x >> 1 & 0x55555555u;
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    bits += ((x + (x >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
  }
  out[0] = bits;
  out[1] = sum;
  out[2] = parity;
  out[3] = least;
  out[4] = most;
}

/* From here on no reductions, although an accumulator goes round. */
void NAME(hash)(uint64_t *out, const int *v, int n) {
  unsigned hash = 17;
  for (int i = 0; i < n; i++) hash = hash * 31u + (unsigned)v[i];
  out[0] = hash;
}

void NAME(prefix_sum)(uint64_t *out, unsigned *v, int n) {
  unsigned sum = 0;
  for (int i = 0; i < n; i++) v[i] = sum += v[i];
  out[0] = sum;
}

void NAME(alternate)(uint64_t *out, const int *v, int n) {
  unsigned sum = 0;
  for (int i = 0; i < n; i++) sum = (unsigned)v[i] - sum;
  out[0] = sum;
}

void NAME(two_kinds)(uint64_t *out, const int *v, int n) {
  unsigned sum = 0;
  for (int i = 0; i < n; i++) sum = (sum + (unsigned)v[i]) ^ (unsigned)i;
  out[0] = sum;
}

void NAME(doubled)(uint64_t *out, const int *v, int n) {
  unsigned sum = 1;
  for (int i = 0; i < n; i++) sum = sum + sum + (unsigned)v[i];
  out[0] = sum;
}

void NAME(swapped)(uint64_t *out, const int *v, int n) {
  unsigned a = 1, b = 2;
  for (int i = 0; i < n; i++) {
    unsigned t = a + (unsigned)v[i];
    a = b - (unsigned)(v[i] >> 3);
    b = t;
  }
  out[0] = a;
  out[1] = b;
}

void NAME(starts_again)(uint64_t *out, const int *v, int n) {
  unsigned sum = 0;
  for (int i = 0; i < n; i++) sum = v[i] < -2000000000 ? 0 : sum + (unsigned)v[i];
  out[0] = sum;
}

void NAME(bounded)(uint64_t *out, const int *v, int n) {
  int level = 0;
  for (int i = 0; i < n; i++) {
    level += v[i] >> 20;
    if (level > 1000) level = 1000;
  }
  out[0] = (uint64_t)level;
}

void NAME(where_most)(uint64_t *out, const int *v, int n) {
  int most = v[0], where = 0;
  for (int i = 0; i < n; i++)
    if (v[i] > most) most = v[i], where = i;
  out[0] = (uint64_t)most;
  out[1] = (uint64_t)where;
}

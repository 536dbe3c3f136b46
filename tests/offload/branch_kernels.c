/* Innermost loops that read or write in some iterations only. `n` elements at out, as many at in. */
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(uint8_t *out, const uint8_t *in, long n)

/* Two comparisons with the same value, of which LLVM makes a switch; a cell that is looked at sometimes. */
KERNEL(branch_life) {
  const long width = 250;
  for (long y = 1; y < n / width - 1; y++)
    for (long x = 1; x < width - 1; x++) {
      const uint8_t *c = in + y * width + x;
      int around = (c[-width - 1] & 1) + (c[-width] & 1) + (c[-width + 1] & 1) + (c[-1] & 1) + (c[1] & 1) +
                   (c[width - 1] & 1) + (c[width] & 1) + (c[width + 1] & 1);
      out[y * width + x] = around == 3 || (around == 2 && c[0]);
    }
}

KERNEL(branch_cases) {
  for (long i = 0; i < n; i++) {
    int value = in[i] & 7, result = in[i];
    if (value == 1)
      result = 10;
    else if (value == 3)
      result = out[i] + 1;
    else if (value == 4)
      result = -result;
    out[i] = (uint8_t)result;
  }
}

#define RAISE(name, type)                              \
  KERNEL(name) {                                       \
    type *o = (type *)out;                             \
    const type *v = (const type *)in;                  \
    for (long i = 0; i < n / (long)sizeof(type); i++)  \
      if (v[i] > o[i]) o[i] = v[i];                    \
  }
RAISE(branch_raise_bytes, uint8_t)
RAISE(branch_raise_words, int16_t)
RAISE(branch_raise_ints, int32_t)
RAISE(branch_raise_longs, int64_t)

/* What is there is not what was read. */
KERNEL(branch_written_before) {
  int32_t *o = (int32_t *)out;
  const int32_t *v = (const int32_t *)in;
  for (long i = 0; i < n / 4; i++) {
    int32_t old = o[i];
    o[i] = v[i] ^ 5;
    if (v[i] > old) o[i] = v[i] - old;
  }
}

KERNEL(branch_written_either_way) {
  int32_t *o = (int32_t *)out;
  const int32_t *v = (const int32_t *)in;
  for (long i = 0; i < n / 4; i++) {
    int32_t old = o[i];
    if (v[i] > old)
      o[i] = v[i];
    else if (v[i] < -old)
      o[i] = -v[i];
  }
}

/* Not read before it is written. */
KERNEL(branch_where_marked) {
  int32_t *o = (int32_t *)out;
  const int32_t *v = (const int32_t *)in;
  for (long i = 0; i < n / 4; i++)
    if (v[i] & 1) o[i] = v[i] >> 1;
}

/* Writes behind one another that may be the same place. */
KERNEL(branch_two_places) {
  int32_t *o = (int32_t *)out;
  const int32_t *v = (const int32_t *)in;
  for (long i = 0; i < n / 4 - 1; i++) {
    int32_t here = o[i];
    if (v[i] > 0) o[i + 1] = v[i];
    if (v[i] < here) o[i] = v[i];
  }
}

/* Reads of another array, a little further along. */
KERNEL(branch_reads_on) {
  int32_t *o = (int32_t *)out;
  const int32_t *v = (const int32_t *)in;
  for (long i = 0; i < n / 4 - 9; i++) {
    int32_t sum = v[i];
    if (sum < 0) {
      sum -= v[i + 5];
      if (sum > 0) sum += v[i + 9] * 3;
    }
    o[i] = sum;
  }
}

KERNEL(branch_in_order) {
  int16_t *o = (int16_t *)out;
  (void)in;
  for (long i = n / 2 - 1; i >= 300; i--) {
    int16_t with = o[i - 300] + 7;
    if (with > o[i]) o[i] = with;
  }
}

/* Extremes and where they were; many are equal. */
#define PLACE(name, type, start, better)                 \
  KERNEL(name) {                                         \
    const type *v = (const type *)in;                    \
    int64_t *result = (int64_t *)out;                    \
    type best = start;                                   \
    long at = -5;                                        \
    int twice = -7;                                      \
    for (long i = 0; i < n / (long)sizeof(type); i++)    \
      if (v[i] better best) {                            \
        best = v[i];                                     \
        at = i;                                          \
        twice = (int)i * 2 + 3;                          \
      }                                                  \
    result[0] = best;                                    \
    result[1] = at;                                      \
    result[2] = twice;                                   \
  }
PLACE(branch_first_most, uint8_t, 0, >)
PLACE(branch_last_most, uint8_t, 0, >=)
PLACE(branch_first_least, int8_t, 127, <)
PLACE(branch_last_least, int16_t, 32767, <=)
PLACE(branch_most_unsigned, uint32_t, 5, >)
PLACE(branch_least_ints, int32_t, 1000, <)
PLACE(branch_none_better, int32_t, (int32_t)(n | 0x7fffffff), >)
PLACE(branch_most_longs, int64_t, 0, >)

KERNEL(branch_most_in_rows) {
  const long width = 301;
  int64_t *result = (int64_t *)out;
  int best = -1, row = -2, column = -3;
  for (int y = 0; y < n / width; y++)
    for (int x = 0; x < width; x++) {
      int value = in[y * width + x] * 7 - (in[y * width + x] & 31);
      if (value > best) {
        best = value;
        row = y;
        column = x;
      }
    }
  result[0] = best;
  result[1] = row;
  result[2] = column;
}

KERNEL(branch_most_of_marked) {
  int64_t *result = (int64_t *)out;
  int best = -1;
  long at = -1;
  for (long i = 0; i < n; i++)
    if (in[i] & 4)
      if (in[i] > best) {
        best = in[i];
        at = n - i;
      }
  result[0] = best;
  result[1] = at;
}

/* What was best is looked at. */
KERNEL(branch_most_and_sum) {
  int64_t *result = (int64_t *)out;
  int best = -1;
  long at = -1, sum = 0;
  for (long i = 0; i < n; i++) {
    if (in[i] > best) {
      best = in[i];
      at = i;
    }
    sum += at;
  }
  result[0] = best;
  result[1] = at;
  result[2] = sum;
}

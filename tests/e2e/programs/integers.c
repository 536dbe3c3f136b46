/* Elementwise integer arithmetic of every width: integers NAME REPETITIONS. "zero_divisor" dies as the machine has it. */
#include "support.h"

#define KERNEL __attribute__((noinline)) static

enum { kCount = 1 << 18, kBytes = kCount * 8 };

static void *first, *second, *result, *result2;

#define ELEMENTWISE(name, type, out_type, expression)                                        \
  KERNEL void name##_loop(out_type* o, const type* a, const type* b, long n) {               \
    for (long i = 0; i < n; ++i) {                                                           \
      const type p = a[i], q = b[i];                                                         \
      o[i] = (out_type)(expression);                                                         \
    }                                                                                        \
  }                                                                                          \
  static void name(long repetitions) {                                                       \
    for (long r = 0; r < repetitions; ++r) {                                                 \
      ((unsigned char*)first)[r * 61 % kBytes] += 1;                                         \
      name##_loop(result, first, second, kCount);                                            \
    }                                                                                        \
  }

ELEMENTWISE(add8, uint8_t, uint8_t, p + q)
ELEMENTWISE(saturate8, uint8_t, uint8_t, p + q > 255 ? 255 : p + q)
ELEMENTWISE(average8, uint8_t, uint8_t, (p + q + 1) >> 1)
ELEMENTWISE(mul16, int16_t, int16_t, p * q >> 3)
ELEMENTWISE(absolute16, int16_t, int16_t, p < q ? q - p : p - q)
ELEMENTWISE(rotate32, uint32_t, uint32_t, (p << 13 | p >> 19) ^ (q << (p & 31) | q >> ((32 - p) & 31)))
ELEMENTWISE(shifts32, int32_t, int32_t, (p >> (q & 31)) + (int32_t)((uint32_t)q << (p & 31)))
ELEMENTWISE(mul32, uint32_t, uint32_t, p * q + 12345u)
ELEMENTWISE(widen32, int32_t, int64_t, (int64_t)p * q)
ELEMENTWISE(minmax32, int32_t, int32_t, (p < q ? p : q) - (p > 100 ? p : 100))
ELEMENTWISE(unsigned32, uint32_t, uint32_t, p < q ? q - p : p)
ELEMENTWISE(mul64, uint64_t, uint64_t, p * q ^ p >> 17)
ELEMENTWISE(high64, uint64_t, uint64_t, (uint64_t)((unsigned __int128)p * q >> 64))
ELEMENTWISE(shifts64, int64_t, int64_t, (p >> (q & 63)) ^ (int64_t)((uint64_t)q << (p & 63)))
ELEMENTWISE(sign_extend, int8_t, int64_t, (int64_t)p * 3 + q)
ELEMENTWISE(narrow, uint64_t, uint8_t, p >> 5 & q)
ELEMENTWISE(compare, int64_t, uint8_t, (p < q) + 2 * (p == q) + 4 * ((uint64_t)p > (uint64_t)q))
ELEMENTWISE(divide32, int32_t, int32_t, p / ((q & 0xffff) + 1) + p % 7)
ELEMENTWISE(divide_unsigned32, uint32_t, uint32_t, p / (q | 1) + p % (q >> 9 | 3))
ELEMENTWISE(divide64, int64_t, int64_t, p / ((q & 0xffffff) + 1))
ELEMENTWISE(to_double, int32_t, double, p * 0.5 + q)
ELEMENTWISE(from_double, double, int32_t, (p < 1e9 && p > -1e9 ? p : 1.0) + (q < 0.0))

/* Carry from one half to the other: add, then add with carry. */
KERNEL void wide_loop(unsigned __int128* o, const unsigned __int128* a, const unsigned __int128* b, long n) {
  for (long i = 0; i < n; ++i) o[i] = a[i] + b[i];
}

static void wide(long repetitions) {
  for (long r = 0; r < repetitions; ++r) wide_loop(result, first, second, kCount / 2);
}

/* Two outputs, values of two widths. */
KERNEL void split_loop(uint8_t* low, uint16_t* high, const uint32_t* in, long n) {
  for (long i = 0; i < n; ++i) {
    low[i] = (uint8_t)in[i];
    high[i] = (uint16_t)(in[i] >> 16);
  }
}

static void split(long repetitions) {
  for (long r = 0; r < repetitions; ++r) split_loop(result, result2, first, kCount);
}

KERNEL void divide_as_is_loop(int32_t* o, const int32_t* a, const int32_t* b, long n) {
  for (long i = 0; i < n; ++i) o[i] = a[i] / b[i];
}

/* Runs long enough to be taken over, then meets a divisor of zero: SIGFPE, with the quotients before it stored. */
static void zero_divisor(long repetitions) {
  int32_t* divisors = second;
  for (long i = 0; i < kCount; ++i) divisors[i] |= 1;
  for (long i = 0; i < kCount; ++i) ((int32_t*)first)[i] &= 0x7fffffff;
  for (long r = 0; r < repetitions; ++r) divide_as_is_loop(result, first, second, kCount);
  print_checksum("before", result, kBytes);
  fflush(stdout);
  divisors[kCount / 3] = 0;
  divide_as_is_loop(result, first, second, kCount);
  puts("not reached");
}

static const struct {
  const char* name;
  void (*run)(long);
} kernels[] = {
#define ROW(name) {#name, name}
    ROW(add8),     ROW(saturate8), ROW(average8), ROW(mul16),    ROW(absolute16), ROW(rotate32), ROW(shifts32),
    ROW(mul32),    ROW(widen32),   ROW(minmax32), ROW(unsigned32), ROW(mul64),    ROW(high64),   ROW(shifts64),
    ROW(sign_extend), ROW(narrow), ROW(compare),  ROW(divide32), ROW(divide_unsigned32), ROW(divide64),
    ROW(to_double), ROW(from_double), ROW(wide),  ROW(split),    ROW(zero_divisor),
};

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  first = allocate(kBytes);
  second = allocate(kBytes);
  result = allocate(kBytes);
  result2 = allocate(kBytes);
  for (long i = 0; i < kCount; ++i) {
    ((uint64_t*)first)[i] = random_bits();
    ((uint64_t*)second)[i] = random_bits();
  }
  memset(result, 0, kBytes);
  memset(result2, 0, kBytes);
  for (size_t k = 0; k < sizeof(kernels) / sizeof(kernels[0]); ++k) {
    if (strcmp(kernels[k].name, argv[1]) != 0) continue;
    kernels[k].run(atol(argv[2]));
    print_checksum("result", result, kBytes);
    print_checksum("result2", result2, kBytes);
    return 0;
  }
  return 2;
}

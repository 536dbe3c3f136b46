/* Float loops over denormals and what is near them, in one float environment: float_modes MODE REPETITIONS.
 *
 * MODE is "as-built" (what the start-up code of -Ofast sets, or the default), MXCSR in hexadecimal, or "changing": another
 * one for each call. */
#define _GNU_SOURCE
#include <emmintrin.h>

#include "support.h"

#define KERNEL __attribute__((noinline)) static

enum { kCount = 1 << 16 };

static double *a, *b, *o;
static float *fa, *fb, *fo;
static int* ints;

KERNEL void mix(double* out, const double* x, const double* y, long n) {
  for (long i = 0; i < n; ++i) out[i] = x[i] * y[i] + x[i] * 0.25 - y[i];
}
KERNEL void mix_float(float* out, const float* x, const float* y, long n) {
  for (long i = 0; i < n; ++i) out[i] = x[i] * y[i] + x[i] * 0.3f - y[i];
}
KERNEL void divide(double* out, const double* x, const double* y, long n) {
  for (long i = 0; i < n; ++i) out[i] = x[i] / (y[i] + 3.0);
}
KERNEL void choose(double* out, const double* x, const double* y, long n) {
  for (long i = 0; i < n; ++i) out[i] = x[i] < y[i] ? x[i] : y[i] * 0.5;
}
KERNEL void convert(float* out, const double* x, long n) {
  for (long i = 0; i < n; ++i) out[i] = (float)x[i] * 1.5f;
}
KERNEL void chop(int* out, const double* x, long n) {
  for (long i = 0; i < n; ++i) out[i] = (int)(x[i] * 1e3) + _mm_cvtsd_si32(_mm_set_sd(x[i]));
}
KERNEL void smooth(double* out, const double* x, long n) {
  for (long i = 1; i + 1 < n; ++i) out[i] = (x[i - 1] + x[i] + x[i + 1]) * (1.0 / 3);
}
KERNEL void decay(double* out, long n) {
  for (long i = 0; i < n; ++i) out[i] = out[i] * 0.9; /* down to the denormals, and to zero where they are flushed */
}

static void make_values(void) {
  for (long i = 0; i < kCount; ++i) {
    const double unit = (double)(random_bits() >> 11) * 0x1p-53 - 0.5;
    const double other = (double)(random_bits() >> 11) * 0x1p-53 - 0.5;
    const int scale = (int)(random_bits() % 4);
    a[i] = scale == 0 ? unit : scale == 1 ? unit * 0x1p-1030 : scale == 2 ? unit * 0x1p-515 : (double)(long)(unit * 2e3);
    b[i] = scale == 0 ? other * 0x1p-1020 : scale == 2 ? other * 0x1p-510 : other;
    fa[i] = scale == 1 ? (float)unit * 0x1p-130f : scale == 2 ? (float)unit * 0x1p-65f : (float)unit;
    fb[i] = scale == 0 ? (float)other * 0x1p-125f : scale == 2 ? (float)other * 0x1p-65f : (float)other;
    o[i] = unit * 0x1p-1000;
  }
}

static void run(long repetitions, int changes) {
  static const unsigned modes[] = {0x1f80, 0x5f80, 0x9fc0, 0x3f80};
  for (long r = 0; r < repetitions; ++r) {
    if (changes) _mm_setcsr(modes[r / 40 % 4]);
    mix(o, a, b, kCount);
    mix_float(fo, fa, fb, kCount);
    divide(o, a, b, kCount);
    choose(o, a, b, kCount);
    convert(fo, a, kCount);
    chop(ints, a, kCount);
    smooth(o, a, kCount);
    decay(o, kCount);
  }
}

#define SHOW(call, data, bytes)     \
  call;                             \
  print_checksum(#call, data, bytes)

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  a = allocate(kCount * 8);
  b = allocate(kCount * 8);
  o = allocate(kCount * 8);
  fa = allocate(kCount * 4);
  fb = allocate(kCount * 4);
  fo = allocate(kCount * 4);
  ints = allocate(kCount * 4);
  make_values();
  const int changes = strcmp(argv[1], "changing") == 0;
  if (!changes && strcmp(argv[1], "as-built") != 0) _mm_setcsr((unsigned)strtoul(argv[1], NULL, 16));
  run(atol(argv[2]), changes);
  SHOW(mix(o, a, b, kCount), o, kCount * 8);
  SHOW(mix_float(fo, fa, fb, kCount), fo, kCount * 4);
  SHOW(divide(o, a, b, kCount), o, kCount * 8);
  SHOW(choose(o, a, b, kCount), o, kCount * 8);
  SHOW(convert(fo, a, kCount), fo, kCount * 4);
  SHOW(chop(ints, a, kCount), ints, kCount * 4);
  SHOW(smooth(o, a, kCount), o, kCount * 8);
  SHOW(decay(o, kCount), o, kCount * 8);
  printf("mxcsr %#x\n", _mm_getcsr() & ~0x3fu);
  return 0;
}

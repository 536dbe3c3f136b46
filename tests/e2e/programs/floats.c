/* Float loops over values and in environments that show any deviation: floats ENVIRONMENT VALUES REPETITIONS. */
#define _GNU_SOURCE
#include <fenv.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "support.h"

#define KERNEL __attribute__((noinline)) static

enum { kCount = 1 << 17 };

static double *a, *b, *o;
static float *fa, *fb, *fo;
static int *ints;

KERNEL void add(double* out, const double* x, const double* y, long n) {
  for (long i = 0; i < n; ++i) out[i] = x[i] + y[i];
}
KERNEL void arithmetic(double* out, const double* x, const double* y, long n) {
  for (long i = 0; i < n; ++i) out[i] = (x[i] - y[i] * 3.0) / (x[i] * x[i] + 1.0);
}
KERNEL void arithmetic_float(float* out, const float* x, const float* y, long n) {
  for (long i = 0; i < n; ++i) out[i] = (x[i] - y[i] * 3.0f) / (x[i] * x[i] + 1.0f);
}
KERNEL void narrow(float* out, const double* x, long n) {
  for (long i = 0; i < n; ++i) out[i] = (float)x[i];
}
KERNEL void widen(double* out, const float* x, long n) {
  for (long i = 0; i < n; ++i) out[i] = (double)x[i] * 1.5;
}
KERNEL void choose(double* out, const double* x, const double* y, long n) {
  for (long i = 0; i < n; ++i) out[i] = x[i] < y[i] ? x[i] : y[i];
}
KERNEL void negate(double* out, const double* x, long n) {
  for (long i = 0; i < n; ++i) out[i] = -x[i];
}
KERNEL void chop(int* out, const double* x, long n) {
  for (long i = 0; i < n; ++i) out[i] = (int)x[i]; /* out of range: what the machine makes of it */
}
KERNEL void root(double* out, const double* x, long n) {
  for (long i = 0; i < n; ++i) out[i] = __builtin_sqrt(__builtin_fabs(x[i]));
}
KERNEL void copy(double* out, const double* x, long n) {
  for (long i = 0; i < n; ++i) out[n - 1 - i] = x[i]; /* moves NaN untouched, also signalling ones */
}
KERNEL void in_place(double* out, const double* y, long n) {
  for (long i = 0; i < n; ++i) out[i] = out[i] * 0.5 + y[i]; /* doing it twice is not doing it once */
}

static uint64_t special(unsigned k) {
  static const uint64_t values[] = {
      0x7ff8000000000000ull, 0xfff8000000000000ull, /* quiet NaN of both signs */
      0x7ff8000000001234ull, 0xfff80000deadbeefull, /* with payloads */
      0x7ff0000000000001ull, 0xfff4000000000777ull, /* signalling */
      0x7ff0000000000000ull, 0xfff0000000000000ull, /* infinities */
      0x8000000000000000ull, 0x0000000000000000ull, /* zeros */
      0x0000000000000001ull, 0x800fffffffffffffull, /* denormals */
      0x0010000000000000ull, 0x7fefffffffffffffull, /* smallest and largest normal */
      0x41dfffffffc00000ull, 0xc1e0000000200000ull, /* around the range of int */
  };
  return values[k % (sizeof(values) / sizeof(values[0]))];
}

static uint32_t special_float(unsigned k) {
  static const uint32_t values[] = {0x7fc00000u, 0xffc00000u, 0x7fc01234u, 0xffc0beefu, 0x7f800001u, 0xffa00007u,
                                    0x7f800000u, 0xff800000u, 0x80000000u, 0x00000000u, 0x00000001u, 0x807fffffu,
                                    0x00800000u, 0x7f7fffffu};
  return values[k % (sizeof(values) / sizeof(values[0]))];
}

/* "plain": ordinary numbers. "rare": one special value in 20000. "all": nothing but special values, all pairs. */
static void make_values(const char* kind) {
  for (long i = 0; i < kCount; ++i) {
    a[i] = ((double)(random_bits() >> 11) * 0x1p-53 - 0.5) * 1e3;
    b[i] = ((double)(random_bits() >> 11) * 0x1p-53 - 0.5) * 1e3;
    fa[i] = (float)a[i];
    fb[i] = (float)b[i];
    const int rare = strcmp(kind, "rare") == 0 && i % 20000 == 7777;
    if (rare || strcmp(kind, "all") == 0) {
      const unsigned k = rare ? (unsigned)(i / 20000) : (unsigned)i;
      uint64_t bits = special(k);
      memcpy(&a[i], &bits, 8);
      bits = special(k / 16);
      memcpy(&b[i], &bits, 8);
      uint32_t small = special_float(k);
      memcpy(&fa[i], &small, 4);
      small = special_float(k / 14);
      memcpy(&fb[i], &small, 4);
    }
    if (strcmp(kind, "tiny") == 0) { /* results are denormal */
      a[i] *= 1e-310;
      b[i] *= 1e-310;
      fa[i] *= 1e-41f;
      fb[i] *= 1e-41f;
    }
  }
}

static void on_sigfpe(int signal_number) {
  (void)signal_number;
  static const char text[] = "SIGFPE\n";
  if (write(1, text, sizeof(text) - 1) < 0) _exit(4);
  _exit(3);
}

/* The environment is set when the loops have been hot for a while: it changes under tracelift's eyes. */
static void change_environment(const char* kind) {
  if (strcmp(kind, "up") == 0) fesetround(FE_UPWARD);
  if (strcmp(kind, "down") == 0) fesetround(FE_DOWNWARD);
  if (strcmp(kind, "zero") == 0) fesetround(FE_TOWARDZERO);
  if (strcmp(kind, "flush") == 0) _mm_setcsr(_mm_getcsr() | 0x8040); /* FTZ and DAZ */
  if (strcmp(kind, "traps") == 0) feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW);
  if (strcmp(kind, "handled-traps") == 0) {
    signal(SIGFPE, on_sigfpe);
    feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW);
  }
}

static void run(long repetitions) {
  for (long r = 0; r < repetitions; ++r) {
    for (int k = 0; k < 3; ++k) {
      add(o, a, b, kCount);
      arithmetic(o, a, b, kCount);
      arithmetic_float(fo, fa, fb, kCount);
      narrow(fo, a, kCount);
      widen(o, fa, kCount);
      choose(o, a, b, kCount);
      negate(o, a, kCount);
      chop(ints, a, kCount);
      root(o, a, kCount);
      copy(o, a, kCount);
      in_place(o, b, kCount);
    }
  }
}

#define SHOW(call, data, bytes)     \
  call;                             \
  print_checksum(#call, data, bytes)

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  a = allocate(kCount * 8);
  b = allocate(kCount * 8);
  o = allocate(kCount * 8);
  fa = allocate(kCount * 4);
  fb = allocate(kCount * 4);
  fo = allocate(kCount * 4);
  ints = allocate(kCount * 4);
  memset(o, 0, kCount * 8);
  make_values(argv[2]);
  run(atol(argv[3]));
  change_environment(argv[1]);
  run(atol(argv[3]) / 4 + 1);
  SHOW(add(o, a, b, kCount), o, kCount * 8);
  SHOW(arithmetic(o, a, b, kCount), o, kCount * 8);
  SHOW(arithmetic_float(fo, fa, fb, kCount), fo, kCount * 4);
  SHOW(narrow(fo, a, kCount), fo, kCount * 4);
  SHOW(widen(o, fa, kCount), o, kCount * 8);
  SHOW(choose(o, a, b, kCount), o, kCount * 8);
  SHOW(negate(o, a, kCount), o, kCount * 8);
  SHOW(chop(ints, a, kCount), ints, kCount * 4);
  SHOW(root(o, a, kCount), o, kCount * 8);
  SHOW(copy(o, a, kCount), o, kCount * 8);
  SHOW(in_place(o, b, kCount), o, kCount * 8);
  printf("rounding %d mxcsr %#x\n", fegetround(), _mm_getcsr() & ~0x3fu);
  return 0;
}

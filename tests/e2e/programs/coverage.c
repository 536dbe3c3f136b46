/* Loops of which it is known whether they can be lifted. Never run; compiled at several levels. */
#include <string.h>

#define KERNEL __attribute__((noinline, noipa))

KERNEL void scale(double* a, const double* b, long n, double x) {
  for (long i = 0; i < n; ++i) a[i] = b[i] * x;
}

KERNEL long sum(const long* a, long n) {
  long s = 0;
  for (long i = 0; i < n; ++i) s += a[i] ^ i;
  return s;
}

KERNEL void nest(float* a, const float* b, long n, long m) {
  for (long i = 0; i < n; ++i)
    for (long j = 0; j < m; ++j) a[i * m + j] += b[j * n + i];
}

/* Outer loop with a call that is known, around an inner loop. */
KERNEL void clear_rows(double* a, long n, long m, const double* b) {
  for (long i = 0; i < n; ++i) {
    memset(a + i * m, 0, m * sizeof(double));
    for (long j = 0; j < m; ++j) a[i * m + j] -= b[j * 3] / 7;
  }
}

/* A jump table. */
KERNEL void choose(double* a, const unsigned char* what, long n) {
  for (long i = 0; i < n; ++i) {
    switch (what[i]) {
      case 0: a[i] += 1; break;
      case 1: a[i] *= a[i]; break;
      case 2: a[i] = 1 / a[i]; break;
      case 3: a[i] = a[i] * 3 - 2; break;
      case 4: a[i] -= 3; break;
      case 5: a[i] = a[i] / 3 + a[i]; break;
    }
  }
}

KERNEL void call_each(void (*f)(long), long n) {
  for (long i = 0; i < n; ++i) f(i);
}

KERNEL long double extended(const long double* a, long n) {
  long double s = 1;
  for (long i = 0; i < n; ++i) s = s * a[i] + 1;
  return s;
}

KERNEL void identify(long n) {
  for (long i = 0; i < n; ++i) {
    unsigned a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  }
}

KERNEL void count(long* counter, long n) {
  for (long i = 0; i < n; ++i) __atomic_fetch_add(counter, i, __ATOMIC_SEQ_CST);
}

void* volatile keep[] = {scale, sum, nest, clear_rows, choose, call_each, extended, identify, count};

int main(void) { return keep[0] == 0; }

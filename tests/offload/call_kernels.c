// Loops that call functions: of this file, of libm, with frames, loops, tail calls and error paths of their own.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define KERNEL(name) JOIN(name, LEVEL)
#define OWN static __attribute__((noinline, noclone))

OWN double square(double x) { return x * x; }
void KERNEL(call_square)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = square(in[i]) + 1;
}

OWN int collatz_steps(uint64_t n) {
  int steps = 0;
  while (n != 1 && steps < 200) {
    n = n & 1 ? 3 * n + 1 : n / 2;
    ++steps;
  }
  return steps;
}
void KERNEL(call_collatz)(int* out, const int* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = collatz_steps((uint64_t)(unsigned)in[i] + 1);
}

OWN double inner(double a, double b, double* sum) {
  *sum += a * b;
  return a - b;
}
OWN double outer(double x, double y) {
  double sum = 1, kept[2] = {x, y};
  const double difference = inner(kept[0], kept[1], &sum);
  return difference * sum + inner(y, x, &sum) * sum;
}
void KERNEL(call_nested)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i + 1 < n; ++i) out[i] = outer(in[i], in[i + 1]);
}

OWN double tail(double x) { return sqrt(fabs(x)) + 0.5; }
OWN double by_tail_call(double x) { return x > 0 ? tail(x) : tail(x * 3); }
void KERNEL(call_tail)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = by_tail_call(in[i]);
}

extern volatile int call_errors;
extern void (*volatile call_on_error)(double);
OWN void report_error(double x) { call_on_error(x); }
OWN double checked(double x) {
  if (x > 1e300) report_error(x);
  return x * 0.25;
}
void KERNEL(call_checked)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = checked(in[i]);
}

// An error path that formats a message.
OWN double checked_with_message(double x) {
  if (x > 1e300) {
    char text[32];
    for (int i = 0; i < 32; ++i) text[(i * (int)call_errors) & 31] = (char)i;
    for (int i = 0; i < 32; ++i) x += text[(i + (int)call_errors) & 31];
    report_error(x);
  }
  return x * 0.25;
}
void KERNEL(call_message)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = checked_with_message(in[i]);
}
// The same without any call: it goes on, with what the array says.
OWN double sorted_rarely(double x) {
  if (x > 8.9999) {
    double kept[8];
    for (int i = 0; i < 8; ++i) kept[(i * 3) & 7] = x * i;
    x = kept[(int)x & 7];
  }
  return x * 0.25;
}
void KERNEL(call_rare_array)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = sorted_rarely(in[i]);
}

OWN int recursive(int n) { return n < 2 ? n : recursive(n - 1) + recursive(n - 2); }
void KERNEL(call_recursive)(int* out, const int* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = recursive(in[i] & 7);
}

void KERNEL(call_pointer)(double* out, const double* in, size_t n, double (*function)(double)) {
  for (size_t i = 0; i < n; ++i) out[i] = function(in[i]);
}

// Looks like a call through a linkage table, but the pointer may change at any time.
double (*KERNEL(call_variable))(double) = square;
void KERNEL(call_through_variable)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = KERNEL(call_variable)(in[i]);
}
OWN double by_variable(double x) { return KERNEL(call_variable)(x); }
void KERNEL(call_stub)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = by_variable(in[i]);
}

// Here what is called can be known: memset. But only now.
void* (*KERNEL(call_fill_variable))(void*, int, size_t) = memset;
void KERNEL(call_fill)(int* out, const int* in, size_t n) {
  for (size_t i = 0; i < n; ++i) KERNEL(call_fill_variable)(out + i, (int)(i & 63), sizeof(int));
  (void)in;
}

OWN int smallest_of(const int* values, int count) {
  int sorted[16];
  for (int i = 0; i < count; ++i) sorted[i] = values[i];
  int least = sorted[0];
  for (int i = 1; i < count; ++i) least = sorted[i] < least ? sorted[i] : least;
  return least;
}
void KERNEL(call_array)(int* out, const int* in, size_t n) {
  for (size_t i = 0; i + 16 <= n; ++i) out[i] = smallest_of(in + i, 16);
}

// As Fortran calls: by reference, most arguments on the stack.
OWN void by_reference(const double* a, const double* b, const int* n, const double* c, const double* d, const int* k,
                      const double* x, const double* y, const double* z, double* out) {
  *out = (*a * *c - *b * *d) * *n + (*x - *y * *z) * *k;
}
void KERNEL(call_by_reference)(double* out, const double* in, size_t n) {
  const double c = 0.75, s = 0.5;
  const int two = 2, three = 3;
  for (size_t i = 0; i + 3 < n; ++i) by_reference(in + i, in + i + 1, &two, &c, &s, &three, in + i + 2, &s, in + i + 3, out + i);
}

OWN double of_many(int a, int b, int c, int d, int e, int f, int g, int h, double x, long i, double y) {
  return (a - b) * x + (c ^ d) * y + (e + f * g) + (h - (double)i) * x;
}
void KERNEL(call_of_many)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i + 1 < n; ++i) {
    const int k = (int)i;
    const double inside = of_many(k, 3, k >> 2, 17, k & 7, 5, k - 9, (int)in[i], in[i + 1], k * 3L, in[i]);
    out[i] = inside + (in[i] > 0 ? of_many(1, k, 2, k, 3, k, 4, k, in[i], 5, 0.5) : in[i]);
  }
}

#define LIBM(name) \
  void KERNEL(call_##name)(double* out, const double* in, size_t n) { for (size_t i = 0; i < n; ++i) out[i] = name(in[i]); }
LIBM(exp)
LIBM(log)
LIBM(sin)
LIBM(cos)
LIBM(erf)
LIBM(tanh)
LIBM(atan)
LIBM(cbrt)
LIBM(floor)
void KERNEL(call_pow)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i + 1 < n; ++i) out[i] = pow(fabs(in[i]), in[i + 1]);
}
void KERNEL(call_all)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const double x = in[i];
    out[i] = exp(-x * x) + log(1 + x * x) * sin(x) - cos(3 * x) * pow(fabs(x) + 0.1, 0.7) + erf(x);
  }
}
/* What fmod leaves in its scratch registers stays there in passes that do not call it. */
void KERNEL(call_sometimes)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    if (in[i] > 0.25) out[i] = fmod(in[i], 0.75);
  }
}
void KERNEL(call_expf)(float* out, const float* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = expf(in[i]) + sinf(in[i]);
}

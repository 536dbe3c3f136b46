// Loops that read and write data of the thread, built into a program (at fixed distances from fs) and into a library that
// is loaded at start (at distances that its linkage table holds).
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define KERNEL(name) __attribute__((visibility("default"))) JOIN(name, LEVEL)
#define OWN static __attribute__((noinline, noclone))

// A thread's data lie in its stack's memory: no more than fits there. What writes them divides, for its time.
enum { kTable = 64, kMost = 1 << 15 };
OWN size_t at_most(size_t n) { return n < kMost ? n : kMost; }

static _Thread_local double scale = 1, offset = 2;
static _Thread_local double table[kTable];
static _Thread_local double written[kMost];
static _Thread_local int64_t passes;
static _Thread_local struct { float first; int32_t second; double third; } mixed = {1, 2, 3};

/// Gives the calling thread values of its own.
void KERNEL(thread_prepare)(double seed) {
  scale = seed + 0.5;
  offset = -seed;
  for (int i = 0; i < kTable; ++i) table[i] = seed * i;
  for (int i = 0; i < kMost; ++i) written[i] = seed;
  passes = (int64_t)seed;
  mixed.first = (float)seed;
  mixed.second = (int32_t)(3 * seed);
  mixed.third = seed / 3;
}
/// What the calling thread's kernels left.
void KERNEL(thread_results)(double* out, size_t n) {
  for (size_t i = 0; i < at_most(n); ++i) out[i] = written[i];
  out[n] = (double)passes;
}

// `out` may overlap the numbers as far as the compiler knows: they are read in each pass.
void KERNEL(thread_scalars)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = in[i] * scale + offset;
}
void KERNEL(thread_table)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    double sum = in[i];
    for (int j = 0; j < kTable; ++j) sum += table[j];
    out[i] = sum;
  }
}
void KERNEL(thread_structure)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = in[i] * mixed.first + mixed.second - mixed.third;
}
void KERNEL(thread_writes)(double* out, const double* in, size_t n) {
  n = at_most(n);
  for (size_t i = 0; i < n; ++i) {
    written[i] = in[i] / scale;
    out[i] = in[i];
  }
}
void KERNEL(thread_updates)(double* out, const double* in, size_t n) {
  n = at_most(n);
  for (size_t i = 0; i < n; ++i) out[i] = written[i] += 1 / in[i];
}
void KERNEL(thread_counts)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    ++passes;
    out[i] = in[i] + 1;
  }
}

OWN double scaled(double x) { return x * scale; }
void KERNEL(thread_callee)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = scaled(in[i]) + offset;
}
OWN double* place(size_t i) { return &written[i]; }
void KERNEL(thread_address)(double* out, const double* in, size_t n) {
  n = at_most(n);
  for (size_t i = 0; i < n; ++i) {
    *place(i) = scale / in[i];
    out[i] = in[i] - 1;
  }
}
void KERNEL(thread_reads_error)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = in[i] + errno;
}
// The error path sets it, as those of libm do.
OWN double checked(double x) {
  if (x < -8.9999) errno = EDOM;
  return x * 0.25;
}
void KERNEL(thread_sets_error)(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = checked(in[i]);
}

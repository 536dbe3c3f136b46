/* Loops that refer to their own file in every way: read-only tables, variables, calls, string constants as data. Built as
   a shared library that the test loads twice. */
#include <math.h>

static const double kTable[256] = {[0] = 1.5, [1] = 2.25, [7] = -3, [100] = 1e10, [255] = 0.125};
static const int kPrimes[8] = {2, 3, 5, 7, 11, 13, 17, 19};
static double factor = 1.25;
static long grid[64][64];

__attribute__((noinline)) static double twice(double x) { return x * 2 + factor; }

__attribute__((noinline)) static double entry(unsigned char at) { return kTable[at]; }

void look_up(const unsigned char* from, double* to, long n) {
  for (long i = 0; i < n; ++i) to[i] = entry(from[i]);
}

void scale(const double* from, double* to, long n) {
  for (long i = 0; i < n; ++i) to[i] = from[i] * factor;
}

void call(const double* from, double* to, long n) {
  for (long i = 0; i < n; ++i) to[i] = twice(from[i]);
}

void exponentials(const double* from, double* to, long n) {
  for (long i = 0; i < n; ++i) to[i] = exp(from[i] * 1e-3);
}

void sums(const double* from, double* to, long n) {
  for (long i = 0; i < n; ++i) {
    double sum = from[i];
    for (int j = 0; j < 8; ++j) sum += kPrimes[j];
    to[i] = sum;
  }
}

void global_rows(const double* from, double* to, long n) {
  for (long i = 0; i < n; ++i) {
    long sum = 0;
    for (int k = 0; k < 64; ++k) sum += grid[k][1] + k;
    to[i] = from[i] + (double)sum;
  }
}

/* Of rows that need the one above. */
void table(const double* from, double* to, long n) {
  for (long i = 1; i < n / 256; ++i)
    for (long j = 1; j < 256; ++j) to[i * 256 + j] = to[(i - 1) * 256 + j] * 0.5 + to[i * 256 + j - 1] * 0.25 + from[i * 256 + j];
}

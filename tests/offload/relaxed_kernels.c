// What relaxed math may compute otherwise: sums in another order, fused multiply-adds, libm in vectors.
#include <math.h>

#define JOIN(a, b, c) a##b##_##c
#define NAME(a, b, c) JOIN(a, b, c)
#define KERNEL(name) NAME(relaxed_, name, LEVEL)

// v holds n inputs, then n others, then n results.
void KERNEL(dot)(double* v, int n) {
  double sum = 0.5;
  for (int i = 0; i < n; ++i) sum += v[i] * v[n + i];
  v[2 * n] = sum;
}

void KERNEL(product)(double* v, int n) {
  double product = 1;
  for (int i = 0; i < n; ++i) product *= 1 + v[i] * 1e-7;
  v[2 * n] = product;
}

void KERNEL(difference)(double* v, int n) {
  double rest = 1e6;
  for (int i = 0; i < n; ++i) rest -= v[i] * v[i];
  v[2 * n] = rest;
}

void KERNEL(some)(double* v, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) {
    if (v[i] > 0.25) sum += v[n + i];
  }
  v[2 * n] = sum;
}

void KERNEL(two)(double* v, int n) {
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    sum += v[i];
    squares += v[i] * v[i];
  }
  v[2 * n] = sum;
  v[2 * n + 1] = squares;
}

void KERNEL(floats)(double* v, int n) {
  const float* f = (const float*)v;
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += f[2 * i + 1] * 1e-3f;
  ((float*)v)[4 * n] = sum;
}

// A sum over two loops.
void KERNEL(table)(double* v, int n) {
  const int side = 512;
  double sum = 0;
  for (int i = 0; i < n / side; ++i) {
    for (int j = 0; j < side; ++j) sum += v[i * side + j] * v[n + j];
  }
  v[2 * n] = sum;
}

// A sum for each row.
void KERNEL(rows)(double* v, int n) {
  const int side = 512;
  for (int i = 0; i < n / side; ++i) {
    double sum = 0;
    for (int j = 0; j < side; ++j) sum += v[i * side + j] * v[n + j];
    v[2 * n + i] = sum;
  }
}

void KERNEL(polynomial)(double* v, int n) {
  for (int i = 0; i < n; ++i) v[2 * n + i] = ((v[i] * 0.3 + 0.7) * v[i] - 1.1) * v[i] + v[n + i];
}

void KERNEL(exponential)(double* v, int n) {
  for (int i = 0; i < n; ++i) v[2 * n + i] = exp(v[i]) * v[n + i];
}

void KERNEL(powers)(double* v, int n) {
  for (int i = 0; i < n; ++i) v[2 * n + i] = pow(v[i], v[n + i]) + log(v[i] + 1);
}

void KERNEL(sines)(double* v, int n) {
  const float* f = (const float*)v;
  float* to = (float*)(v + 2 * n);
  for (int i = 0; i < n; ++i) to[i] = sinf(f[2 * i + 1]);
}

// Newton's method: lanes that end one by one, and call libm meanwhile.
void KERNEL(roots)(double* v, int n) {
  for (int i = 0; i < n; ++i) {
    double x = 1;
    for (int step = 0; step < 50; ++step) {
      const double off = exp(x) - 1 - v[i];
      if (off < 1e-8 && off > -1e-8) break;
      x -= off / exp(x);
    }
    v[2 * n + i] = x;
  }
}

// Rounds to integers by means of rounding errors, which there are none of where sums are reordered.
void KERNEL(rounded)(double* v, int n) {
  for (int i = 0; i < n; ++i) v[2 * n + i] = (v[i] * 100 + 0x1.8p52) - 0x1.8p52;
}

// Integers beside floats come out as ever.
void KERNEL(counted)(double* v, int n) {
  double sum = 0;
  long above = 0;
  for (int i = 0; i < n; ++i) {
    sum += v[i];
    above += v[i] > 0.5;
  }
  v[2 * n] = sum;
  ((long*)v)[2 * n + 1] = above;
}

/* Fast Fourier transforms forth and back, radix two, in place. Usage: fft [log2 of the points] [rounds] */
#include <math.h>

#include "program.h"

typedef struct {
  double re, im;
} Complex;

static void reverse_bits(int n, Complex* a) {
  for (int i = 1, j = 0; i < n; i++) {
    int bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      Complex kept = a[i];
      a[i] = a[j];
      a[j] = kept;
    }
  }
}

static void transform(int n, const Complex* roots, double sign, Complex* a) {
  reverse_bits(n, a);
  for (int length = 2; length <= n; length *= 2) {
    int half = length / 2, stride = n / length;
#pragma omp parallel for if (n / length >= 4)
    for (int i = 0; i < n; i += length) {
      for (int j = 0; j < half; j++) {
        Complex w = roots[j * stride], u = a[i + j], v = a[i + j + half];
        double re = v.re * w.re - v.im * (sign * w.im);
        double im = v.re * (sign * w.im) + v.im * w.re;
        a[i + j] = (Complex){u.re + re, u.im + im};
        a[i + j + half] = (Complex){u.re - re, u.im - im};
      }
    }
  }
}

int main(int argc, char** argv) {
  int bits = size_argument(argc, argv, 1, 20);
  int rounds = size_argument(argc, argv, 2, 22);
  int n = 1 << (bits > 28 ? 28 : bits);
  Complex* a = allocate(n, sizeof *a);
  Complex* roots = allocate(n, sizeof *roots);
  fill_random(&a[0].re, (size_t)n * 2, -1, 1, 1);
  for (int i = 0; i < n; i++) roots[i] = (Complex){cos(2 * M_PI * i / n), sin(2 * M_PI * i / n)};
  for (int r = 0; r < rounds; r++) {
    transform(n, roots, -1.0, a);
    for (int i = 0; i < n; i++) a[i] = (Complex){a[i].re / n, a[i].im / n};
    transform(n, roots, 1.0, a);
  }
  print_checksum("signal", a, n * sizeof *a);
}

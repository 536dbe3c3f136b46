/* Loops as people write them. Compiled three times (-O1, -O2, -O3); NAME adds the level to each name. */
#include <stddef.h>
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)

void NAME(triad)(double *a, const double *b, const double *c, double s, size_t n) {
  for (size_t i = 0; i < n; i++) a[i] = b[i] + s * c[i];
}

void NAME(matmul)(double *c, const double *a, const double *b, int n) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
      c[i * n + j] = sum;
    }
}

void NAME(stencil2d)(double *out, const double *in, int h, int w) {
  for (int y = 1; y < h - 1; y++)
    for (int x = 1; x < w - 1; x++)
      out[y * w + x] = 0.25 * (in[(y - 1) * w + x] + in[(y + 1) * w + x] + in[y * w + x - 1] + in[y * w + x + 1]);
}

void NAME(mandelbrot)(int *out, int w, int h, int limit) {
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++) {
      double cr = -2.0 + 3.0 * x / w, ci = -1.0 + 2.0 * y / h, zr = 0, zi = 0;
      int n = 0;
      while (n < limit && zr * zr + zi * zi < 4.0) {
        double t = zr * zr - zi * zi + cr;
        zi = 2 * zr * zi + ci;
        zr = t;
        n++;
      }
      out[y * w + x] = n;
    }
}

void NAME(convolve)(uint8_t *out, const uint8_t *in, int h, int w) {
  static const int kernel[9] = {1, 2, 1, 2, 4, 2, 1, 2, 1};
  for (int y = 1; y < h - 1; y++)
    for (int x = 1; x < w - 1; x++) {
      int sum = 0;
      for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++) sum += kernel[(dy + 1) * 3 + dx + 1] * in[(y + dy) * w + x + dx];
      out[y * w + x] = (uint8_t)(sum / 16);
    }
}

void NAME(saxpy_float)(float *y, const float *x, float a, unsigned n) {
  for (unsigned i = 0; i < n; i++) y[i] = a * x[i] + y[i];
}

void NAME(clamp)(float *v, int n, float lo, float hi) {
  for (int i = 0; i < n; i++) {
    if (v[i] < lo) v[i] = lo;
    if (v[i] > hi) v[i] = hi;
  }
}

void NAME(columns)(double *m, int rows, int cols) {
  for (int c = 0; c < cols; c++) {
    double sum = 0;
    for (int r = 0; r < rows; r++) sum += m[r * cols + c];
    for (int r = 0; r < rows; r++) m[r * cols + c] -= sum / rows;
  }
}

double NAME(sum)(const double *v, size_t n) {
  double s = 0;
  for (size_t i = 0; i < n; i++) s += v[i];
  return s;
}

void NAME(shift)(double *v, size_t n, ptrdiff_t k) {
  for (size_t i = 0; i < n; i++) v[(ptrdiff_t)i + k] = v[i] * 1.5;
}

void NAME(nbody)(const double *p, double *f, int n) {
  for (int i = 0; i < n; i++) {
    double fx = 0, fy = 0, fz = 0;
    for (int j = 0; j < n; j++) {
      double dx = p[3 * j] - p[3 * i], dy = p[3 * j + 1] - p[3 * i + 1], dz = p[3 * j + 2] - p[3 * i + 2];
      double d2 = dx * dx + dy * dy + dz * dz + 0.01;
      double w = 1.0 / (d2 * __builtin_sqrt(d2));
      fx += w * dx;
      fy += w * dy;
      fz += w * dz;
    }
    f[3 * i] = fx;
    f[3 * i + 1] = fy;
    f[3 * i + 2] = fz;
  }
}

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

void NAME(stencil3d)(float *out, const float *in, int n, float c0, float c1) {
#define AT(g, i, j, k) g[((size_t)(i) * n + (j)) * n + (k)]
  for (int i = 1; i < n - 1; i++)
    for (int j = 1; j < n - 1; j++)
      for (int k = 1; k < n - 1; k++)
        AT(out, i, j, k) = c0 * AT(in, i, j, k) + c1 * (AT(in, i - 1, j, k) + AT(in, i + 1, j, k) + AT(in, i, j - 1, k) +
                                                        AT(in, i, j + 1, k) + AT(in, i, j, k - 1) + AT(in, i, j, k + 1));
#undef AT
}

void NAME(blur)(uint8_t *out, const uint8_t *in, int width, int height) {
  static const int kernel[5][5] = {
      {1, 4, 6, 4, 1}, {4, 16, 24, 16, 4}, {6, 24, 36, 24, 6}, {4, 16, 24, 16, 4}, {1, 4, 6, 4, 1}};
  for (int y = 2; y < height - 2; y++)
    for (int x = 2; x < width - 2; x++) {
      int sum = 0;
      for (int dy = -2; dy <= 2; dy++)
        for (int dx = -2; dx <= 2; dx++) sum += kernel[dy + 2][dx + 2] * in[(y + dy) * width + x + dx];
      out[y * width + x] = (sum + 128) / 256;
    }
}

#define STATIC_N 120
static double static_a[STATIC_N][STATIC_N], static_b[STATIC_N][STATIC_N], static_c[STATIC_N][STATIC_N];

__attribute__((noinline)) static void multiply_static(void) {
  for (int i = 0; i < STATIC_N; i++)
    for (int j = 0; j < STATIC_N; j++) {
      static_c[i][j] = 0;
      for (int k = 0; k < STATIC_N; k++) static_c[i][j] += static_a[i][k] * static_b[k][j];
    }
}

const void *NAME(static_matmul_code)(void) { return (const void *)multiply_static; }

void NAME(static_matmul)(double *c, const double *a, const double *b) {
  __builtin_memcpy(static_a, a, sizeof static_a);
  __builtin_memcpy(static_b, b, sizeof static_b);
  multiply_static();
  __builtin_memcpy(c, static_c, sizeof static_c);
}

#define DIMENSIONS 8
void NAME(nearest_centres)(int *nearest, const float *points, const float *centres, size_t count, int clusters) {
  for (size_t p = 0; p < count; ++p) {
    float best = 1e30f;
    int best_cluster = 0;
    for (int c = 0; c < clusters; ++c) {
      float distance = 0.0f;
      for (int d = 0; d < DIMENSIONS; ++d) {
        const float delta = points[p * DIMENSIONS + d] - centres[c * DIMENSIONS + d];
        distance += delta * delta;
      }
      if (distance < best) {
        best = distance;
        best_cluster = c;
      }
    }
    nearest[p] = best_cluster;
  }
}

void NAME(distances)(float *table, const float *points, int n) {
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) {
      float sum = 0.0f;
      for (int d = 0; d < 32; ++d) {
        const float delta = points[i * 32 + d] - points[j * 32 + d];
        sum += delta * delta;
      }
      table[(size_t)i * n + j] = sum;
    }
}

struct vectors {
  double *now, *before, *next, *stiffness;
  size_t size;
};

void NAME(wave)(struct vectors *v) {
  for (size_t i = 1; i + 1 < v->size; ++i) {
    const double curvature = v->now[i - 1] - 2.0 * v->now[i] + v->now[i + 1];
    v->next[i] = 2.0 * v->now[i] - v->before[i] + v->stiffness[i] * curvature;
  }
}

struct body {
  double x, y, vx, vy, ax, ay, mass;
};

void NAME(accelerate)(struct body *bodies, int n) {
  for (int i = 0; i < n; i++) {
    double ax = 0.0, ay = 0.0;
    for (int j = 0; j < n; j++) {
      double dx = bodies[j].x - bodies[i].x;
      double dy = bodies[j].y - bodies[i].y;
      double f = bodies[j].mass / (dx * dx + dy * dy + 0.01);
      ax += f * dx;
      ay += f * dy;
    }
    bodies[i].ax = ax;
    bodies[i].ay = ay;
  }
}

void NAME(drift)(struct body *bodies, int n, double dt) {
  for (int i = 0; i < n; i++) {
    bodies[i].vx += dt * bodies[i].ax;
    bodies[i].vy += dt * bodies[i].ay;
    bodies[i].x += dt * bodies[i].vx;
    bodies[i].y += dt * bodies[i].vy;
  }
}

/* Only some passes set `last`: the final value needs all of them in order. */
int NAME(last_above)(int *out, const int *in, int n, int limit) {
  int last = -1;
  for (int i = 0; i < n; i++) {
    if (in[i] > limit) last = i;
    out[i] = in[i] * 3;
  }
  return last;
}

/* Each pass reads what an earlier pass may have kept. */
void NAME(hold)(int *out, const int *in, int n, int limit) {
  int held = 0;
  for (int i = 0; i < n; i++) {
    if (in[i] > limit) held = in[i];
    out[i] = held;
  }
}

void NAME(prefix)(int *v, int n) {
  int sum = 0;
  for (int i = 0; i < n; i++) {
    sum += v[i];
    v[i] = sum;
  }
}

void NAME(divide_rows)(int *out, const int *in, const int *by, int n) {
  for (int i = 0; i < n; i++) out[i] = in[i] / by[i] + in[i] % 7;
}

void NAME(count_in_rows)(int *out, const uint8_t *in, int h, int w) {
  for (int y = 0; y < h; y++) {
    int count = 0;
    for (int x = 0; x < w; x++) count += in[y * w + x] > 100 && in[y * w + x] < 200;
    out[y] = count;
  }
}

void NAME(transpose)(float *out, const float *in, int n) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) out[j * n + i] = in[i * n + j];
}

void NAME(grey)(uint8_t *out, const uint8_t *rgb, int pixels) {
  for (int i = 0; i < pixels; i++) out[i] = (77 * rgb[3 * i] + 150 * rgb[3 * i + 1] + 29 * rgb[3 * i + 2]) >> 8;
}

void NAME(lower_triangle)(double *m, int n) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j <= i; j++) m[i * n + j] = m[i * n + j] * 2.0 + 1.0;
}

void NAME(julia)(float *out, int w, int h, float cr, float ci) {
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++) {
      float zr = 3.0f * x / w - 1.5f, zi = 2.0f * y / h - 1.0f;
      int n;
      for (n = 0; n < 64; n++) {
        float t = zr * zr - zi * zi + cr;
        zi = 2 * zr * zi + ci;
        zr = t;
        if (zr * zr + zi * zi > 4.0f) break;
      }
      out[y * w + x] = n + zr;
    }
}

void NAME(behind)(float *out, const float *in, int h, int w, int off) {
  const float *before = in + off, *row = in + w;
  for (int y = 1; y < h; y++) {
    for (int x = 0; x < w; x++) out[y * w + x] = row[x] - before[x];
    before = row;
    row += w;
  }
}

/* C = alpha * A * B + beta * C, by columns, as the reference BLAS has it. */
void NAME(gemm)(double *c, const double *a, const double *b, double alpha, double beta, int n) {
  for (int j = 0; j < n; j++) {
    if (beta == 0.0) {
      for (int i = 0; i < n; i++) c[j * n + i] = 0.0;
    } else if (beta != 1.0) {
      for (int i = 0; i < n; i++) c[j * n + i] *= beta;
    }
    for (int l = 0; l < n; l++) {
      double t = alpha * b[j * n + l];
      for (int i = 0; i < n; i++) c[j * n + i] += t * a[l * n + i];
    }
  }
}

/* A jump table in the loop; its address is loaded before. */
void NAME(choose)(double *out, const double *in, const uint8_t *what, int n) {
  for (int i = 0; i < n; i++) {
    double x = in[i];
    switch ((uint8_t)(what[i] + 250)) {
      case 0: x = x * x + 1; break;
      case 1: x = 3 / (x + 2); break;
      case 2: x -= 1; break;
      case 3: x = x * 0.5; break;
      case 4: x = (double)(long)(x * 100); break;
      case 5: x = x * 7 - x * x * x; break;
      case 8: x = 2; break;
    }
    out[i] = x;
  }
}

/* Four bytes, from 100 on. */
void NAME(choose_int)(int *out, const int *what, int n) {
  for (int i = 0; i < n; i++) {
    int x = i;
    switch (what[i]) {
      case 100: x = i * i; break;
      case 101: x = i / 3; break;
      case 102: x = i ^ (i >> 3); break;
      case 103: x = -i; break;
      case 104: x = i * 12345; break;
      case 105: x = i & 1; break;
      default: x = 7; break;
    }
    out[i] = x;
  }
}

/* Leaves where it finds something. */
int NAME(find)(const int *in, int n, int what) {
  for (int i = 0; i < n; i++) {
    if (in[i] == what) return i;
  }
  return -1;
}

/* The same, and writes. */
int NAME(copy_until)(int *out, const int *in, int n, int end) {
  for (int i = 0; i < n; i++) {
    if (in[i] == end) return i;
    out[i] = in[i];
  }
  return -1;
}

/* Ends at the first negative number; 0 never comes down to 1. */
int NAME(find_slow)(const int *in, int n) {
  for (int i = 0; i < n; i++) {
    if (in[i] < 0) return i;
    unsigned x = (unsigned)in[i], steps = 0;
    while (x != 1) {
      x = x % 2 ? 3 * x + 1 : x / 2;
      steps++;
    }
    if (steps > 500) return -1;
  }
  return n;
}

/* All rows need the row in the middle, which one of them writes. */
void NAME(shorten_by)(int *distance, int n, int k) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      int detour = distance[i * n + k] + distance[k * n + j];
      if (detour < distance[i * n + j]) distance[i * n + j] = detour;
    }
}

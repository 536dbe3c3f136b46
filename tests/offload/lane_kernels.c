/* Loops whose innermost loops must keep their order, so that iterations of one around them go side by side in vectors. Each
   kernel: `rows` results at out (elements of 8 bytes), data at in, `n` elements a row. */
#include <math.h>
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(double *out, const double *in, int rows, int n)

KERNEL(lanes_row_sums) {
  for (int i = 0; i < rows; i++) {
    double sum = 0;
    for (int k = 0; k < n; k++) sum += in[i * n + k];
    out[i] = sum;
  }
}

KERNEL(lanes_column_sums) {
  for (int j = 0; j < rows; j++) {
    double sum = 1;
    for (int k = 0; k < n; k++) sum = sum * 0.75 + in[k * rows + j];
    out[j] = sum;
  }
}

/* rows x rows from two matrices of rows x n and n x rows */
KERNEL(lanes_product) {
  const double *a = in, *b = in + rows * n;
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < rows; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += a[i * n + k] * b[k * rows + j];
      out[i * rows + j] = sum;
    }
}

KERNEL(lanes_product_transposed) {
  const double *a = in, *b = in + rows * n;
  for (int i = 0; i < rows; i++)
    for (int j = 0; j <= i; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += a[i * n + k] * b[j * n + k];
      out[i * rows + j] = sum;
    }
}

KERNEL(lanes_accumulate_in_memory) {
  for (int i = 0; i < rows; i++)
    for (int k = 0; k < n; k++) out[i] += in[k * rows + i] * in[k];
}

KERNEL(lanes_escape) {
  int *steps = (int *)out;
  for (int i = 0; i < rows; i++) {
    double re = in[i] * 0.2, im = in[i + 1] * 0.2, x = 0, y = 0;
    int k = 0;
    while (k < n && x * x + y * y < 4) {
      double t = x * x - y * y + re;
      y = 2 * x * y + im;
      x = t;
      k++;
    }
    steps[i] = k;
  }
}

KERNEL(lanes_newton) {
  for (int i = 0; i < rows; i++) {
    double target = fabs(in[i]) + 0.5, x = target, last;
    int k = 0;
    do {
      last = x;
      x = 0.5 * (x + target / x);
    } while (fabs(x - last) > 1e-9 * x && ++k < n);
    out[i] = x + k;
  }
}

KERNEL(lanes_two_ways_out) {
  for (int i = 0; i < rows; i++) {
    double sum = in[i], found = -1;
    for (int k = 0; k < n; k++) {
      sum = sum * 0.5 + in[k * 3];
      if (sum > 7) {
        found = k;
        break;
      }
      if (sum < -6) {
        found = 2 * k + sum;
        break;
      }
    }
    out[i] = found + sum;
  }
}

KERNEL(lanes_conditions) {
  for (int i = 0; i < rows; i++) {
    double sum = 0;
    if (in[i] > 2) {
      for (int k = 0; k < n; k++) sum += in[k] * in[i];
    } else if (in[i] > -3) {
      for (int k = 0; k < n; k++) {
        if (in[k] > in[i]) sum += in[k]; else sum -= sqrt(fabs(in[i]));
        if (in[k] > 8) continue;
        sum *= 0.875;
      }
    } else {
      sum = in[i] / 3;
    }
    out[i] = sum;
  }
}

KERNEL(lanes_sometimes_stores) {
  for (int i = 0; i < rows; i++) {
    double sum = 0;
    for (int k = 0; k < n; k++) {
      sum = sum * 0.5 + in[i + k];
      if (sum > 9) out[i] = sum;
    }
    if (sum < 0) out[rows + i] = sum;
  }
}

KERNEL(lanes_nested) {
  for (int i = 0; i < rows; i++) {
    double total = 0;
    int left = (int)(fabs(in[i]) * 2);
    while (left > 0) {
      double step = 0;
      for (int k = 0; k < left; k++) {
        step += in[i] * k - total;
        if (step > 50) break;
      }
      total += step * 0.01;
      left -= 1 + (total > 3);
    }
    out[i] = total;
  }
}

/* Every other loop inside is the same for all lanes, although not all come by it. */
KERNEL(lanes_skipped_loop) {
  for (int i = 0; i < rows; i++) {
    double sum = 0;
    for (int k = 0; k < n; k++) {
      if (in[i] + in[k] > 0) {
        for (int m = 0; m < 5; m++) sum = sum * 0.5 + in[k + m] * in[i];
      } else {
        sum += 1;
      }
    }
    out[i] = sum;
  }
}

struct Particle { double x, y, mass; float colour; int kind; };

KERNEL(lanes_structs) {
  struct Particle *to = (struct Particle *)out;
  const struct Particle *from = (const struct Particle *)in;
  for (int i = 0; i < rows; i++) {
    double fx = 0, fy = 0;
    float colour = 0;
    for (int j = 0; j < n; j++) {
      double dx = from[j].x - from[i].x, dy = from[j].y - from[i].y;
      double weight = from[j].mass / (dx * dx + dy * dy + 0.01);
      fx += dx * weight;
      fy += dy * weight;
      if (from[j].kind > 0) colour = colour * 0.5f + from[j].colour;
    }
    to[i].x = fx;
    to[i].y = fy;
    to[i].colour = colour;
    to[i].kind = (int)(fx * 4);
  }
}

KERNEL(lanes_backwards) {
  for (int i = rows - 1; i >= 0; i--) {
    double sum = 0;
    for (int k = 0; k < n; k++) sum = in[i] - 0.5 * sum;
    out[rows - 1 - i] = sum;
    out[2 * rows + i] = sum + 1;
  }
}

KERNEL(lanes_bytes) {
  uint8_t *to = (uint8_t *)out;
  const uint8_t *from = (const uint8_t *)in;
  for (int i = 0; i < rows; i++) {
    float sum = 0;
    for (int k = 0; k < n; k++) sum = sum * 0.75f + from[i + k];
    to[i] = (uint8_t)(sum * 0.25f);
    ((int16_t *)(to + 4096))[i] = (int16_t)sum;
  }
}

KERNEL(lanes_divisions) {
  const int *numbers = (const int *)in;
  int *to = (int *)out;
  for (int i = 0; i < rows; i++) {
    int value = numbers[2 * i] & 0xffff, divisor = numbers[2 * i + 1] & 7;
    float sum = 0;
    for (int k = 0; k < n; k++) {
      if (divisor != 0) {
        value = value / divisor + numbers[k] % (divisor + 1);
        sum += (float)value;
      } else {
        sum = sum * 0.5f + 1;
      }
      divisor = (divisor + 3) & 7;
    }
    to[i] = value + (int)(sum * 0.001f);
  }
}

static const double kTable[8] = {0.5, -1.25, 3, 0.75, -2, 1.5, 0.125, 4};

KERNEL(lanes_tables) {
  for (int i = 0; i < rows; i++) {
    double sum = 0;
    for (int k = 0; k < n; k++) sum = sum * 0.5 + kTable[((int64_t)in[i + k] + k) & 7];
    out[i] = sum;
  }
}

KERNEL(lanes_least) {
  const float *from = (const float *)in;
  float *to = (float *)out;
  for (int i = 0; i < rows; i++) {
    float least = from[i], most = -0.0f;
    for (int k = 0; k < n; k++) {
      float d = from[i] * from[k];
      if (d < least) least = d;
      most = d > most ? d : most;
    }
    to[i] = least;
    to[rows + i] = most;
  }
}

KERNEL(lanes_counts) {
  const float *from = (const float *)in;
  int *to = (int *)out;
  for (int i = 0; i < rows; i++) {
    int inside = 0;
    float a = from[i];
    for (int k = 0; k < n; k++) {
      a = a * 0.9f + from[k] * 0.1f;
      inside += a * a < 1;
    }
    to[i] = inside;
  }
}

KERNEL(lanes_switch) {
  for (int i = 0; i < rows; i++) {
    double value = in[i];
    for (int k = 0; k < n; k++) {
      switch ((int)(fabs(in[i + k]) * 8) & 7) {
        case 0: value += 1; break;
        case 1: value *= 0.5; break;
        case 2: value -= in[k]; break;
        case 3: value = -value; break;
        case 4: value += in[i] * in[k]; break;
        default: value *= 0.96875;
      }
    }
    out[i] = value;
  }
}

KERNEL(lanes_library) {
  for (int i = 0; i < rows; i++) {
    double sum = 0;
    for (int k = 0; k < n; k++) sum += exp(in[i + k] * 0.1) - log(fabs(in[k]) + 1) * sum;
    out[i] = sum;
  }
}

KERNEL(lanes_pairs) {
  for (int i = 0; i < rows; i++) {
    double re = 0, im = 0;
    for (int k = 0; k < n; k++) {
      const double *x = in + 2 * (i + k), *w = in + 2 * k;
      double t = re * 0.5 + x[0] * w[0] - x[1] * w[1];
      im = im * 0.5 + x[0] * w[1] + x[1] * w[0];
      re = t;
    }
    out[2 * i] = re;
    out[2 * i + 1] = im;
  }
}

/* Row by row, each result visited once for each term. */
KERNEL(lanes_product_by_rows) {
  const double *a = in, *b = in + rows * n;
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < rows; j++) out[i * rows + j] = 0;
    for (int k = 0; k < n; k++) {
      double factor = a[i * n + k] * 1.5;
      for (int j = 0; j < rows; j++) out[i * rows + j] += factor * b[k * rows + j];
    }
  }
}

/* Added to what is there, and only where the factor says so. */
KERNEL(lanes_product_added) {
  const double *a = in, *b = in + rows * n;
  for (int i = 0; i < rows; i++)
    for (int k = 0; k < n; k++)
      for (int j = 0; j < rows; j++) out[i * rows + j] = out[i * rows + j] * 0.5 - a[i * n + k] * b[k * rows + j];
}

/* Scaled by a number that is usually one. */
KERNEL(lanes_product_scaled) {
  const double alpha = in[0], *a = in + 1, *b = a + rows * n;
  for (int i = 0; i < rows; i++)
    for (int k = 0; k < n; k++) {
      double factor = alpha * a[i * n + k];
      for (int j = 0; j < rows; j++) out[i * rows + j] += factor * b[k * rows + j];
    }
}

KERNEL(lanes_copy_scaled) {
  const double alpha = in[0];
  for (int i = 0; i < rows; i++) {
    for (int k = 0; k < n; k++) out[i * n + k] = alpha * in[i * n + k];
    out[i * n] += alpha * in[i * n + 1] - 1;
  }
}

KERNEL(lanes_product_float) {
  const float *a = (const float *)in, *b = a + rows * n;
  float *c = (float *)out;
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < rows; j++) {
      float sum = 0;
      for (int k = 0; k < n; k++) sum += a[i * n + k] * b[k * rows + j];
      c[i * rows + j] = sum;
    }
}

/* The rows of the result are read as factors of later terms: no panels. */
KERNEL(lanes_product_feeds_itself) {
  const double *b = in;
  for (int i = 0; i < rows; i++)
    for (int k = 0; k < n; k++)
      for (int j = 0; j < rows; j++) out[i * rows + j] += 0.001 * out[i * rows + k] * b[k * rows + j];
}

/* Numbers of the iteration that do not step evenly. */
KERNEL(lanes_uneven) {
  for (int i = 0; i < rows; i++) {
    double sum = 0;
    int shifted = i >> 2, mixed = (i ^ 21) * 3, less = i / 7, masked = i & 12;
    for (int k = 0; k < n; k++) sum = sum * 0.5 + in[k] * shifted - in[k + 1] * mixed + less - masked;
    out[i] = sum;
  }
}

/* Tested at the top; how often it is passed is the lane's own affair. */
KERNEL(lanes_up_to_the_end) {
  for (int i = 0; i < rows; i++) {
    double sum = in[i];
    int k = 0;
    while (k < n && sum < 40) {
      sum += in[k];
      k++;
    }
    out[i] = sum + k;
  }
}

/* Separable Gaussian blur of a float image, eleven taps each way. Usage: gaussian_blur [width] [height] [times] */
#include <math.h>

#include "program.h"

enum { kRadius = 5 };

static void across(int width, int height, const float* taps, const float* in, float* out) {
#pragma omp parallel for
  for (int y = 0; y < height; y++) {
    for (int x = kRadius; x < width - kRadius; x++) {
      float sum = 0.0f;
      for (int k = -kRadius; k <= kRadius; k++) sum += taps[k + kRadius] * in[(size_t)y * width + x + k];
      out[(size_t)y * width + x] = sum;
    }
  }
}

static void down(int width, int height, const float* taps, const float* in, float* out) {
#pragma omp parallel for
  for (int y = kRadius; y < height - kRadius; y++) {
    for (int x = 0; x < width; x++) {
      float sum = 0.0f;
      for (int k = -kRadius; k <= kRadius; k++) sum += taps[k + kRadius] * in[(size_t)(y + k) * width + x];
      out[(size_t)y * width + x] = sum;
    }
  }
}

int main(int argc, char** argv) {
  int width = size_argument(argc, argv, 1, 2000);
  int height = size_argument(argc, argv, 2, 1500);
  int times = size_argument(argc, argv, 3, 80);
  size_t pixels = (size_t)width * height;
  float* a = allocate(pixels, sizeof *a);
  float* b = allocate(pixels, sizeof *b);
  float taps[2 * kRadius + 1], total = 0.0f;
  for (int k = -kRadius; k <= kRadius; k++) total += taps[k + kRadius] = expf(-0.5f * (float)(k * k) / 6.0f);
  for (int k = 0; k <= 2 * kRadius; k++) taps[k] /= total;
  fill_random_float(a, pixels, 0, 1, 1);
  memcpy(b, a, pixels * sizeof *a);
  for (int t = 0; t < times; t++) {
    across(width, height, taps, a, b);
    down(width, height, taps, b, a);
  }
  print_checksum("image", a, pixels * sizeof *a);
}

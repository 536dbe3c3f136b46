/* A square of weights over each point of a picture but those at its edges. Usage: convolution2d [width] [height]
 * [radius] */
#include "bench/programs/program.h"

static void convolve(int width, int height, int radius, const double* weights, const double* in, double* out) {
  int side = 2 * radius + 1;
#pragma omp parallel for
  for (int y = radius; y < height - radius; y++) {
    for (int x = radius; x < width - radius; x++) {
      double sum = 0.0;
      for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++)
          sum += weights[i * side + j] * in[(size_t)(y + i - radius) * width + x + j - radius];
      out[(size_t)y * width + x] = sum;
    }
  }
}

int main(int argc, char** argv) {
  int width = size_argument(argc, argv, 1, 2000);
  int height = size_argument(argc, argv, 2, 1500);
  int radius = size_argument(argc, argv, 3, 10);
  int side = 2 * radius + 1;
  size_t points = (size_t)width * height;
  double* in = allocate(points, sizeof *in);
  double* out = allocate(points, sizeof *out);
  double* weights = allocate((size_t)side * side, sizeof *weights);
  fill_random(in, points, 0, 1, 1);
  fill_random(weights, (size_t)side * side, -1, 1, 2);
  memcpy(out, in, points * sizeof *out);
  convolve(width, height, radius, weights, in, out);
  print_checksum("picture", out, points * sizeof *out);
}

/* Edges of a 16-bit image: Sobel's two filters, the sum of their magnitudes, saturated.
   Usage: sobel [width] [height] [times] */
#include "program.h"

static int magnitude(int v) { return v < 0 ? -v : v; }

static void edges(int width, int height, const int16_t* in, int16_t* out) {
#pragma omp parallel for
  for (int y = 1; y < height - 1; y++) {
    for (int x = 1; x < width - 1; x++) {
      const int16_t *above = in + (size_t)(y - 1) * width + x, *here = above + width, *below = here + width;
      int across = above[1] + 2 * here[1] + below[1] - above[-1] - 2 * here[-1] - below[-1];
      int down = below[-1] + 2 * below[0] + below[1] - above[-1] - 2 * above[0] - above[1];
      int sum = (magnitude(across) + magnitude(down)) >> 2;
      out[(size_t)y * width + x] = (int16_t)(sum > 32767 ? 32767 : sum);
    }
  }
}

int main(int argc, char** argv) {
  int width = size_argument(argc, argv, 1, 3000);
  int height = size_argument(argc, argv, 2, 2000);
  int times = size_argument(argc, argv, 3, 180);
  size_t pixels = (size_t)width * height;
  int16_t* a = allocate(pixels, sizeof *a);
  int16_t* b = allocate(pixels, sizeof *b);
  uint64_t seed = 1;
  for (size_t i = 0; i < pixels; i++) a[i] = (int16_t)(random_bits(&seed) >> 20);
  memset(b, 0, pixels * sizeof *b);
  for (int t = 0; t < times; t++) {
    edges(width, height, a, b);
    int16_t* kept = a;
    a = b;
    b = kept;
  }
  print_checksum("edges", a, pixels * sizeof *a);
}

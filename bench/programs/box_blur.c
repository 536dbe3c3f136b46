/* Blurs a gray image, a byte a pixel, by the mean of 5 x 5 pixels, again and again.
   Usage: box_blur [width] [height] [times] */
#include "program.h"

static void blur(int width, int height, const uint8_t* from, uint8_t* to) {
#pragma omp parallel for
  for (int y = 2; y < height - 2; y++) {
    for (int x = 2; x < width - 2; x++) {
      int sum = 0;
      for (int dy = -2; dy <= 2; dy++)
        for (int dx = -2; dx <= 2; dx++) sum += from[(size_t)(y + dy) * width + x + dx];
      to[(size_t)y * width + x] = (uint8_t)((sum + 12) / 25);
    }
  }
}

int main(int argc, char** argv) {
  int width = size_argument(argc, argv, 1, 3000);
  int height = size_argument(argc, argv, 2, 2000);
  int times = size_argument(argc, argv, 3, 28);
  size_t pixels = (size_t)width * height;
  uint8_t* a = allocate(pixels, 1);
  uint8_t* b = allocate(pixels, 1);
  fill_random_bytes(a, pixels, 1);
  memcpy(b, a, pixels);
  for (int t = 0; t < times; t++) {
    blur(width, height, a, b);
    uint8_t* kept = a;
    a = b;
    b = kept;
  }
  print_checksum("image", a, pixels);
}

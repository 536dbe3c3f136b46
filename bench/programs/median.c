/* Median of 3 x 3 bytes by a network of minima and maxima (Smith, 1996). Usage: median [width] [height] [times] */
#include "program.h"

static void order(uint8_t* a, uint8_t* b) {
  uint8_t least = *a < *b ? *a : *b;
  *b = *a < *b ? *b : *a;
  *a = least;
}

static void filter(int width, int height, const uint8_t* in, uint8_t* out) {
#pragma omp parallel for
  for (int y = 1; y < height - 1; y++) {
    for (int x = 1; x < width - 1; x++) {
      const uint8_t* p = in + (size_t)y * width + x;
      uint8_t a = p[-width - 1], b = p[-width], c = p[-width + 1], d = p[-1], e = p[0], f = p[1];
      uint8_t g = p[width - 1], h = p[width], i = p[width + 1];
      order(&b, &c);
      order(&e, &f);
      order(&h, &i);
      order(&a, &b);
      order(&d, &e);
      order(&g, &h);
      order(&b, &c);
      order(&e, &f);
      order(&h, &i);
      order(&a, &d);
      order(&f, &i);
      order(&e, &h);
      order(&d, &g);
      order(&b, &e);
      order(&c, &f);
      order(&e, &h);
      order(&e, &c);
      order(&g, &e);
      order(&e, &c);
      out[(size_t)y * width + x] = e;
    }
  }
}

int main(int argc, char** argv) {
  int width = size_argument(argc, argv, 1, 2400);
  int height = size_argument(argc, argv, 2, 1600);
  int times = size_argument(argc, argv, 3, 80);
  size_t pixels = (size_t)width * height;
  uint8_t* a = allocate(pixels, 1);
  uint8_t* b = allocate(pixels, 1);
  fill_random_bytes(a, pixels, 1);
  memcpy(b, a, pixels);
  for (int t = 0; t < times; t++) {
    filter(width, height, a, b);
    uint8_t* kept = a;
    a = b;
    b = kept;
  }
  print_checksum("image", a, pixels);
}

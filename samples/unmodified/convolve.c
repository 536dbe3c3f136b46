/* Blurs a greyscale image with a 5x5 kernel, several times. Usage: convolve [width] [passes] [file.pgm] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int kernel[5][5] = {
    {1, 4, 6, 4, 1}, {4, 16, 24, 16, 4}, {6, 24, 36, 24, 6}, {4, 16, 24, 16, 4}, {1, 4, 6, 4, 1},
};

static void convolve(const uint8_t* in, uint8_t* out, int width, int height) {
  for (int y = 2; y < height - 2; y++) {
    for (int x = 2; x < width - 2; x++) {
      int sum = 0;
      for (int dy = -2; dy <= 2; dy++)
        for (int dx = -2; dx <= 2; dx++) sum += kernel[dy + 2][dx + 2] * in[(y + dy) * width + x + dx];
      out[y * width + x] = (sum + 128) / 256;
    }
  }
}

/* A test picture: checkerboard, gradient and noise. */
static void draw(uint8_t* image, int width, int height) {
  uint32_t seed = 12345;
  for (int y = 0; y < height; y++) {
    for (int x = 0; x < width; x++) {
      seed = seed * 1664525u + 1013904223u;
      int value = (x / 32 + y / 32) % 2 * 100 + 100 * x / width + (int)(seed >> 27);
      image[y * width + x] = value > 255 ? 255 : value;
    }
  }
}

int main(int argc, char** argv) {
  int width = argc > 1 ? atoi(argv[1]) : 2400;
  int passes = argc > 2 ? atoi(argv[2]) : 110;
  int height = width * 2 / 3;
  if (width < 8 || passes < 0) {
    fprintf(stderr, "usage: convolve [width] [passes] [file.pgm]\n");
    return 1;
  }
  size_t size = (size_t)width * height;
  uint8_t* image = malloc(size);
  uint8_t* blurred = malloc(size);
  if (!image || !blurred) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  draw(image, width, height);
  memcpy(blurred, image, size);
  for (int pass = 0; pass < passes; pass++) {
    convolve(image, blurred, width, height);
    uint8_t* swap = image;
    image = blurred;
    blurred = swap;
  }

  unsigned long sum = 0, hash = 5381;
  for (size_t i = 0; i < size; i++) {
    sum += image[i];
    hash = hash * 33 + image[i];
  }
  printf("%d x %d, %d passes\n", width, height, passes);
  printf("mean = %.9f, hash = %016lx\n", (double)sum / size, hash);
  for (int i = 0; i < 16; i++) printf("%d ", image[height / 2 * width + i * (width - 1) / 15]);
  printf("\n");
  if (argc > 3) {
    FILE* file = fopen(argv[3], "wb");
    if (!file) {
      perror(argv[3]);
      return 1;
    }
    fprintf(file, "P5\n%d %d\n255\n", width, height);
    fwrite(image, 1, size, file);
    fclose(file);
  }
  free(image);
  free(blurred);
  return 0;
}

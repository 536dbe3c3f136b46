/* Equalises the histograms of a series of frames, then finds the share of bright pixels.
   Usage: equalise [pixels] [frames] */
#include "program.h"

static void equalise(int pixels, const uint8_t* in, uint8_t* out) {
  unsigned histogram[256] = {0};
  uint8_t table[256];
  for (int i = 0; i < pixels; i++) histogram[in[i]]++;
  uint64_t below = 0;
  for (int v = 0; v < 256; v++) {
    below += histogram[v];
    table[v] = (uint8_t)(below * 255 / (uint64_t)pixels);
  }
#pragma omp parallel for
  for (int i = 0; i < pixels; i++) out[i] = table[in[i]];
}

/* Darkens unevenly, as passing light would. */
static void darken(int pixels, int frame, uint8_t* image) {
#pragma omp parallel for
  for (int i = 0; i < pixels; i++) image[i] = (uint8_t)(image[i] * (128 + ((i >> 12) + frame) % 128) >> 8);
}

static long bright(int pixels, const uint8_t* image, uint8_t limit) {
  long count = 0;
#pragma omp parallel for reduction(+ : count)
  for (int i = 0; i < pixels; i++)
    if (image[i] >= limit) count++;
  return count;
}

int main(int argc, char** argv) {
  int pixels = size_argument(argc, argv, 1, 6000000);
  int frames = size_argument(argc, argv, 2, 110);
  uint8_t* a = allocate(pixels, 1);
  uint8_t* b = allocate(pixels, 1);
  fill_random_bytes(a, pixels, 1);
  long total = 0;
  for (int frame = 0; frame < frames; frame++) {
    darken(pixels, frame, a);
    equalise(pixels, a, b);
    total = total * 31 + bright(pixels, b, 200);
    uint8_t* kept = a;
    a = b;
    b = kept;
  }
  printf("bright %ld\n", total);
  print_checksum("frame", a, pixels);
}

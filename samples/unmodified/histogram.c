/* Counts bytes of pseudo-random text. Usage: histogram [megabytes] [repetitions] */
#include <stdio.h>
#include <stdlib.h>

static void count(const unsigned char* text, size_t size, unsigned* bins) {
  for (size_t i = 0; i < size; i++) bins[text[i]]++;
}

int main(int argc, char** argv) {
  size_t size = (size_t)(argc > 1 ? atoi(argv[1]) : 32) << 20;
  int repetitions = argc > 2 ? atoi(argv[2]) : 120;
  unsigned char* text = malloc(size);
  unsigned bins[256] = {0};
  if (!text || size == 0) {
    fprintf(stderr, "usage: histogram [megabytes] [repetitions]\n");
    return 1;
  }
  unsigned seed = 99;
  for (size_t i = 0; i < size; i++) {
    seed = seed * 1103515245u + 12345u;
    unsigned r = seed >> 16 & 0xff;
    text[i] = r * r >> 8;
  }
  for (int r = 0; r < repetitions; r++) count(text, size, bins);

  unsigned most = 0;
  unsigned long hash = 0;
  for (int b = 0; b < 256; b++) {
    if (bins[b] > bins[most]) most = b;
    hash = hash * 31 + bins[b];
  }
  printf("bytes = %zu, repetitions = %d\n", size, repetitions);
  printf("most frequent = %u (%u times), hash = %016lx\n", most, bins[most], hash);
  for (int b = 0; b < 256; b += 32) printf("bin %d: %u\n", b, bins[b]);
  free(text);
  return 0;
}

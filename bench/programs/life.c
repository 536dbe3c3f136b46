/* Conway's game of life, a byte a cell, dead border. Usage: life [n] [generations] */
#include "program.h"

static void generation(int n, const uint8_t* from, uint8_t* to) {
#pragma omp parallel for
  for (int y = 1; y < n - 1; y++) {
    for (int x = 1; x < n - 1; x++) {
      const uint8_t* c = from + (size_t)y * n + x;
      int neighbours = c[-n - 1] + c[-n] + c[-n + 1] + c[-1] + c[1] + c[n - 1] + c[n] + c[n + 1];
      to[(size_t)y * n + x] = neighbours == 3 || (neighbours == 2 && c[0]);
    }
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 2000);
  int generations = size_argument(argc, argv, 2, 150);
  size_t cells = (size_t)n * n;
  uint8_t* a = allocate(cells, 1);
  uint8_t* b = allocate(cells, 1);
  memset(a, 0, cells);
  memset(b, 0, cells);
  uint64_t seed = 1;
  for (int y = 1; y < n - 1; y++)
    for (int x = 1; x < n - 1; x++) a[(size_t)y * n + x] = random_bits(&seed) % 3 == 0;
  for (int g = 0; g < generations; g++) {
    generation(n, a, b);
    uint8_t* kept = a;
    a = b;
    b = kept;
  }
  long alive = 0;
  for (size_t i = 0; i < cells; i++) alive += a[i];
  printf("alive %ld\n", alive);
  print_checksum("cells", a, cells);
}

/* All shortest paths of a weighted graph. Usage: floyd_warshall [nodes] */
#include "program.h"

static void shorten(int n, int* distance) {
  for (int k = 0; k < n; k++) {
#pragma omp parallel for
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        int detour = distance[(size_t)i * n + k] + distance[(size_t)k * n + j];
        if (detour < distance[(size_t)i * n + j]) distance[(size_t)i * n + j] = detour;
      }
    }
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 1600);
  int* distance = allocate((size_t)n * n, sizeof *distance);
  uint64_t seed = 1;
  for (size_t i = 0; i < (size_t)n * n; i++)
    distance[i] = random_bits(&seed) % 50 ? 1000000 : 1 + (int)(random_bits(&seed) % 10000);
  for (int i = 0; i < n; i++) distance[(size_t)i * n + i] = 0;
  shorten(n, distance);
  print_checksum("distances", distance, (size_t)n * n * sizeof *distance);
}

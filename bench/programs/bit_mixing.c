/* Integer reductions over long arrays: mixed words summed, xor-ed, their bits counted, the extremes kept.
   Usage: bit_mixing [words] [rounds] */
#include "program.h"

static uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ x >> 16;
}

static unsigned ones(uint32_t x) {
  x -= x >> 1 & 0x55555555u;
  x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
  return ((x + (x >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 4000000);
  int rounds = size_argument(argc, argv, 2, 160);
  uint32_t* words = allocate(n, sizeof *words);
  uint64_t seed = 1;
  for (int i = 0; i < n; i++) words[i] = random_bits(&seed);
  uint32_t sum = 0, parity = 0, least = UINT32_MAX, most = 0;
  uint64_t bits = 0;
  for (int r = 0; r < rounds; r++) {
#pragma omp parallel for reduction(+ : sum, bits) reduction(^ : parity) reduction(min : least) reduction(max : most)
    for (int i = 0; i < n; i++) {
      uint32_t mixed = mix(words[i] + (uint32_t)r);
      sum += mixed;
      parity ^= mixed * 3u;
      bits += ones(mixed);
      least = mixed < least ? mixed : least;
      most = mixed > most ? mixed : most;
    }
  }
  printf("sum %08x parity %08x bits %llu from %08x to %08x\n", sum, parity, (unsigned long long)bits, least, most);
}

/* Sieve of Eratosthenes, a byte a number. Usage: sieve [limit] [times] */
#include "program.h"

static void sieve(int limit, uint8_t* composite) {
  memset(composite, 0, (size_t)limit + 1);
  for (int p = 2; (long)p * p <= limit; p++)
    if (!composite[p])
      for (int q = p * p; q <= limit - p; q += p) composite[q] = 1;
}

int main(int argc, char** argv) {
  int limit = size_argument(argc, argv, 1, 20000000);
  int times = size_argument(argc, argv, 2, 22);
  uint8_t* composite = allocate((size_t)limit + 1, 1);
  uint64_t hash = 0;
  for (int t = 0; t < times; t++) {
    sieve(limit - t, composite);
    long primes = 0, last = 0;
    for (int i = 2; i <= limit - t; i++) {
      primes += !composite[i];
      if (!composite[i]) last = i;
    }
    hash = hash * 31 + (uint64_t)primes * 7 + (uint64_t)last;
  }
  printf("primes %016llx\n", (unsigned long long)hash);
  print_checksum("composite", composite, (size_t)limit + 1 - times);
}

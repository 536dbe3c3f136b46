/* What the test programs share: reproducible numbers, and a checksum that shows any changed bit. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state = 88172645463325252ull;

static inline uint64_t random_bits(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

/* FNV-1a, eight bytes at a time, and calls nothing. */
static inline uint64_t checksum(const void* data, size_t bytes) {
  const unsigned char* p = (const unsigned char*)data;
  uint64_t hash = 1469598103934665603ull;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    hash = (hash ^ word) * 1099511628211ull;
  }
  for (; bytes > 0; --bytes) hash = (hash ^ *p++) * 1099511628211ull;
  return hash;
}

static inline void print_checksum(const char* name, const void* data, size_t bytes) {
  printf("%s %016llx\n", name, (unsigned long long)checksum(data, bytes));
}

static inline void* allocate(size_t bytes) {
  void* p = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!p) exit(99);
  return p;
}

/* One element's work where a loop must be worth running elsewhere on any machine: two divisions, no memory traffic
 * to speak of, so that more cores and wider vectors help. */
static inline double blend(double x, double factor) {
  x = x * factor + 0.5;
  return (x * x + 1.0) / (x + 3.0) - factor / (x + 7.0);
}

#endif

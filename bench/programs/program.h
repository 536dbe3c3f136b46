/* What the programs of this folder share: sizes from the command line, memory, inputs that depend on nothing but a
   seed, and a checksum over whole arrays, so that the line they print depends on every bit they computed. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The `index`-th argument as a positive number, or `otherwise` where it is not given. */
static inline int size_argument(int argc, char** argv, int index, int otherwise) {
  int size = argc > index ? atoi(argv[index]) : otherwise;
  if (size < 1) {
    fprintf(stderr, "%s: argument %d must be a positive number\n", argv[0], index);
    exit(2);
  }
  return size;
}

static inline void* allocate(size_t count, size_t bytes_each) {
  void* memory = malloc(count * bytes_each);
  if (!memory) {
    fprintf(stderr, "out of memory\n");
    exit(2);
  }
  return memory;
}

/* 32 bits of a 64-bit linear congruential generator (Knuth, MMIX). */
static inline uint32_t random_bits(uint64_t* state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 32);
}

/* In [low, high). */
static inline double random_between(uint64_t* state, double low, double high) {
  return low + (high - low) * (random_bits(state) / 4294967296.0);
}

static inline void fill_random(double* values, size_t count, double low, double high, uint64_t seed) {
  for (size_t i = 0; i < count; i++) values[i] = random_between(&seed, low, high);
}

static inline void fill_random_float(float* values, size_t count, float low, float high, uint64_t seed) {
  for (size_t i = 0; i < count; i++) values[i] = (float)random_between(&seed, low, high);
}

static inline void fill_random_bytes(uint8_t* values, size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) values[i] = (uint8_t)(random_bits(&seed) >> 24);
}

/* Changes with every bit of every byte. */
static inline uint64_t checksum(const void* data, size_t bytes) {
  const char* at = (const char*)data;
  uint64_t hash = 14695981039346656037u;
  for (; bytes > 0;) {
    uint64_t word = 0;
    size_t piece = bytes < sizeof word ? bytes : sizeof word;
    memcpy(&word, at, piece);
    hash = (hash ^ word) * 1099511628211u;
    hash ^= hash >> 29;
    at += piece;
    bytes -= piece;
  }
  return hash;
}

static inline void print_checksum(const char* name, const void* data, size_t bytes) {
  printf("%s %016llx\n", name, (unsigned long long)checksum(data, bytes));
}

#endif

/* Results of gigabytes: a checksum over every 61st piece of 4 KiB, so that looking at them takes less time than
   computing them, and all of them into a file for whoever wants to compare every byte. */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "bench/programs/program.h"

enum { kPieceBytes = 4096, kPiecesBetween = 61 };

static inline void print_sample(const char* name, const void* data, size_t bytes) {
  const char* at = (const char*)data;
  uint64_t hash = 0;
  for (size_t offset = 0; offset < bytes; offset += (size_t)kPieceBytes * kPiecesBetween) {
    size_t length = kPieceBytes;
    if (length > bytes - offset) length = bytes - offset;
    hash = (hash ^ checksum(at + offset, length)) * 1099511628211u;
  }
  printf("%s, a sample %016llx\n", name, (unsigned long long)hash);
}

/* Into the file that the `index`-th argument names, if it is given. */
static inline void write_all(int argc, char** argv, int index, const void* data, size_t bytes) {
  if (argc <= index) return;
  FILE* file = fopen(argv[index], "wb");
  if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) {
    fprintf(stderr, "%s: cannot be written\n", argv[index]);
    exit(2);
  }
}

#endif

/* Bottom-up merge sort of keys with a payload. Usage: merge_sort [records] */
#include "program.h"

typedef struct {
  uint32_t key, payload;
} Record;

static void merge(const Record* left, const Record* middle, const Record* end, Record* out) {
  const Record* right = middle;
  while (left < middle && right < end) *out++ = right->key < left->key ? *right++ : *left++;
  while (left < middle) *out++ = *left++;
  while (right < end) *out++ = *right++;
}

static Record* sort(size_t n, Record* from, Record* to) {
  for (size_t width = 1; width < n; width *= 2) {
#pragma omp parallel for
    for (size_t i = 0; i < n; i += 2 * width) {
      size_t middle = i + width < n ? i + width : n, end = i + 2 * width < n ? i + 2 * width : n;
      merge(from + i, from + middle, from + end, to + i);
    }
    Record* kept = from;
    from = to;
    to = kept;
  }
  return from;
}

int main(int argc, char** argv) {
  size_t n = size_argument(argc, argv, 1, 15000000);
  Record* records = allocate(n, sizeof *records);
  Record* scratch = allocate(n, sizeof *scratch);
  uint64_t seed = 1;
  for (size_t i = 0; i < n; i++) records[i] = (Record){random_bits(&seed) >> 4, (uint32_t)i};
  Record* sorted = sort(n, records, scratch);
  print_checksum("sorted", sorted, n * sizeof *sorted);
}

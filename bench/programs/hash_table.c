/* Counts keys in a hash table with open addressing, then looks up others. Usage: hash_table [keys] [rounds] */
#include "program.h"

typedef struct {
  uint64_t key, count;
} Slot;

static Slot* find(Slot* table, uint64_t mask, uint64_t key) {
  uint64_t at = key * 0x9e3779b97f4a7c15u >> 32 & mask;
  while (table[at].count && table[at].key != key) at = (at + 1) & mask;
  return &table[at];
}

int main(int argc, char** argv) {
  int keys = size_argument(argc, argv, 1, 1000000);
  int rounds = size_argument(argc, argv, 2, 30);
  uint64_t size = 2;
  while (size < (uint64_t)keys * 2) size *= 2;
  Slot* table = allocate(size, sizeof *table);
  memset(table, 0, size * sizeof *table);
  uint64_t seed = 1, hits = 0;
  for (int r = 0; r < rounds; r++) {
    for (int i = 0; i < keys; i++) {
      uint64_t key = 1 + random_bits(&seed) % (uint32_t)keys;
      Slot* slot = find(table, size - 1, key);
      slot->key = key;
      slot->count++;
    }
    for (int i = 0; i < keys; i++) hits = hits * 31 + find(table, size - 1, random_bits(&seed) % (uint32_t)keys)->count;
  }
  printf("hits %016llx\n", (unsigned long long)hits);
  print_checksum("table", table, size * sizeof *table);
}

/* 0/1 knapsack, one row in place, from the end. Usage: knapsack [items] [capacity] */
#include "program.h"

static void pack(int items, int capacity, const int* weight, const int* value, int* best) {
  for (int i = 0; i < items; i++) {
    for (int c = capacity; c >= weight[i]; c--) {
      int with = best[c - weight[i]] + value[i];
      if (with > best[c]) best[c] = with;
    }
  }
}

int main(int argc, char** argv) {
  int items = size_argument(argc, argv, 1, 11000);
  int capacity = size_argument(argc, argv, 2, 600000);
  int* weight = allocate(items, sizeof *weight);
  int* value = allocate(items, sizeof *value);
  int* best = allocate((size_t)capacity + 1, sizeof *best);
  uint64_t seed = 1;
  for (int i = 0; i < items; i++) {
    weight[i] = 1 + random_bits(&seed) % 10000;
    value[i] = 1 + random_bits(&seed) % 1000;
  }
  memset(best, 0, ((size_t)capacity + 1) * sizeof *best);
  pack(items, capacity, weight, value, best);
  printf("value %d\n", best[capacity]);
  print_checksum("row", best, ((size_t)capacity + 1) * sizeof *best);
}

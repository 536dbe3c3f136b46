/* Local alignment of many pairs of sequences, with the whole table of scores and the way back through it.
   Usage: smith_waterman [length] [pairs] */
#include "program.h"

static int align(int n, const char* a, const char* b, int (*score)[n + 1], uint64_t* path) {
  int best = 0, best_i = 0, best_j = 0;
  for (int j = 0; j <= n; j++) score[0][j] = 0;
  for (int i = 1; i <= n; i++) {
    score[i][0] = 0;
    for (int j = 1; j <= n; j++) {
      int value = score[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 5 : -4);
      int gap = score[i - 1][j] > score[i][j - 1] ? score[i - 1][j] - 6 : score[i][j - 1] - 6;
      if (gap > value) value = gap;
      if (value < 0) value = 0;
      score[i][j] = value;
      if (value > best) {
        best = value;
        best_i = i;
        best_j = j;
      }
    }
  }
  for (int i = best_i, j = best_j; score[i][j] > 0;) {
    int move = score[i][j] == score[i - 1][j] - 6 ? 1 : score[i][j] == score[i][j - 1] - 6 ? 2 : 3;
    *path = *path * 1099511628211u + (uint64_t)move;
    i -= move & 1;
    j -= move >> 1;
  }
  return best;
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 3000);
  int pairs = size_argument(argc, argv, 2, 160);
  char* a = allocate(n, 1);
  char* b = allocate(n, 1);
  void* score = allocate((size_t)(n + 1) * (n + 1), sizeof(int));
  uint64_t seed = 1, path = 0, total = 0;
  for (int pair = 0; pair < pairs; pair++) {
    for (int i = 0; i < n; i++) a[i] = "ACGT"[random_bits(&seed) % 4];
    for (int i = 0; i < n; i++) b[i] = random_bits(&seed) % 4 ? a[(i + 40 * pair) % n] : "ACGT"[random_bits(&seed) % 4];
    total = total * 31 + (uint64_t)align(n, a, b, score, &path);
  }
  printf("scores %016llx paths %016llx\n", (unsigned long long)total, (unsigned long long)path);
  print_checksum("last table", score, (size_t)(n + 1) * (n + 1) * sizeof(int));
}

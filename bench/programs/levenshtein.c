/* Edit distance of two texts, two rows of the table. Usage: levenshtein [length] */
#include "program.h"

static int distance(int n, const char* a, int m, const char* b, int* above, int* row) {
  for (int j = 0; j <= m; j++) above[j] = j;
  for (int i = 1; i <= n; i++) {
    row[0] = i;
    for (int j = 1; j <= m; j++) {
      int least = above[j - 1] + (a[i - 1] != b[j - 1]);
      if (above[j] + 1 < least) least = above[j] + 1;
      if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
      row[j] = least;
    }
    int* kept = above;
    above = row;
    row = kept;
  }
  return above[m];
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 50000);
  char* a = allocate(n, 1);
  char* b = allocate(n, 1);
  int* above = allocate(n + 1, sizeof *above);
  int* row = allocate(n + 1, sizeof *row);
  uint64_t seed = 1;
  for (int i = 0; i < n; i++) a[i] = 'a' + random_bits(&seed) % 26;
  for (int i = 0; i < n; i++) b[i] = random_bits(&seed) % 3 ? a[i] : (char)('a' + random_bits(&seed) % 26);
  printf("distance %d\n", distance(n, a, n, b, above, row));
  print_checksum("rows", above, (n + 1) * sizeof *above);
}

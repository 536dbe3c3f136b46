/* How often and where words occur in a text: comparison at every place, until the first difference.
   Usage: string_search [length] [words] */
#include "program.h"

static int matches(const char* text, const char* word, int length) {
  for (int i = 0; i < length; i++)
    if (text[i] != word[i]) return 0;
  return 1;
}

static const char* first_match(const char* text, const char* end, const char* word, int length) {
  for (const char* at = text; at + length <= end; at++)
    if (matches(at, word, length)) return at;
  return NULL;
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 4000000);
  int words = size_argument(argc, argv, 2, 280);
  char* text = allocate(n, 1);
  uint64_t seed = 1, places = 0;
  for (int i = 0; i < n; i++) text[i] = "etaoinsh"[random_bits(&seed) % 8];
  long found = 0;
  for (int w = 0; w < words; w++) {
    char word[8];
    int length = 5 + w % 4;
    for (int i = 0; i < length; i++) word[i] = "etaoinsh"[random_bits(&seed) % 8];
    for (const char* at = text; (at = first_match(at, text + n, word, length)) != NULL; at++) {
      found++;
      places = places * 31 + (uint64_t)(at - text);
    }
  }
  printf("found %ld places %016llx\n", found, (unsigned long long)places);
}

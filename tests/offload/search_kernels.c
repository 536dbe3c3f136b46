/* Loops that stop where they find something and write nothing. Each kernel goes on from place `from` of `n` and returns where
   it stopped, or something below 0. */
#define PASTE2(a, b, c) a##_##b##_##c
#define PASTE(a, b, c) PASTE2(a, b, c)
#define NAME(name) PASTE(search, name, LEVEL)

static inline int matches(const unsigned char *text, const unsigned char *word, int length) {
  for (int i = 0; i < length; i++)
    if (text[i] != word[i]) return 0;
  return 1;
}

/* Compares at every place, until the first difference. */
long NAME(word)(const unsigned char *text, long from, long n, const unsigned char *word, int length) {
  for (const unsigned char *at = text + from; at + length <= text + n; at++)
    if (matches(at, word, length)) return at - text;
  return -1;
}

/* The same for rows of `length` bytes. */
long NAME(row)(const unsigned char *text, long from, long n, const unsigned char *word, int length) {
  for (long i = from; i < n / length; i++)
    if (matches(text + i * length, word, length)) return i;
  return -1;
}

/* Two things to find. */
long NAME(either)(const unsigned char *text, long from, long n, const unsigned char *word, int length) {
  for (long i = from; i < n; i++) {
    if (text[i] == word[4]) return i;
    if (text[i] == word[3] && text[i + length / 6] == word[4]) return -2 - i;
  }
  return -1;
}

/* Downwards. */
long NAME(last)(const unsigned char *text, long from, long n, const unsigned char *word, int length) {
  for (long i = n - length; i >= from; i--)
    if (text[i] == word[2] && text[i + 1] == word[3] && text[i + 2] == word[4]) return i;
  return -1;
}

/* Counts on the way. */
long NAME(count_until)(const unsigned char *text, long from, long n, const unsigned char *word, int length) {
  long other = 0;
  for (long i = from; i < n; i++) {
    if (text[i] == word[0] && text[i >= length ? i - length : 0] == word[1]) return i + other % 2;
    other += text[i] > word[1];
  }
  return -1 - other;
}

/* Keeps what it saw on the way. */
long NAME(last_before)(const unsigned char *text, long from, long n, const unsigned char *word, int length) {
  long seen = -1;
  for (long i = from; i < n; i++) {
    if (text[i] == word[0] && text[i >= length ? i - length : 0] == word[1]) return i * 2 + seen % 2;
    if (text[i] == word[2]) seen = i;
  }
  return -1 - seen;
}

/* Behind the place where it stops are numbers that it must not divide by. */
long NAME(divide)(const unsigned char *text, long from, long n, const unsigned char *word, int length) {
  for (long i = from; i < n; i++) {
    if (text[i] == 0) return i;
    if (255 / text[i] == 255 && length > word[0]) return i;
  }
  return -1;
}

/* Fills an array that it does not look at ahead of each place. */
long NAME(writes)(const unsigned char *text, long from, long n, const unsigned char *word, int length) {
  static unsigned char before[1 << 22];
  for (long i = from; i < n; i++) {
    if (text[i] == word[0] && text[i >= length ? i - length : 0] == word[1]) return i + before[i / 2];
    before[i] = text[i] & 1;
  }
  return -1;
}

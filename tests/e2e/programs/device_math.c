// Single float operations over many operands: device_math OPERATION usual|any|denormal COUNT ROUNDS. Prints a hash of the results' bits.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;

static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static double operand(const char *kind) {
  uint64_t bits = next();
  double value;
  if (strcmp(kind, "denormal") == 0) bits &= 0x803fffffffffffff;  // half of them
  memcpy(&value, &bits, sizeof value);
  if (strcmp(kind, "usual") != 0) return value;
  return (double)(int64_t)bits * 0x1p-60;  // from -8 to 8
}

static float operand_float(const char *kind) {
  uint32_t bits = (uint32_t)next();
  float value;
  if (strcmp(kind, "denormal") == 0) bits &= 0x80ffffff;
  memcpy(&value, &bits, sizeof value);
  return strcmp(kind, "usual") == 0 ? (float)(int32_t)bits * 0x1p-28f : value;
}

#define OPERATIONS(REAL, SUFFIX, FABS, EXP, LOG, SIN, COS, POW, SQRT)                                        \
  __attribute__((noinline)) static void add##SUFFIX(REAL *r, const REAL *a, const REAL *b, size_t n) {       \
    for (size_t i = 0; i < n; ++i) r[i] = a[i] + b[i];                                                       \
  }                                                                                                          \
  __attribute__((noinline)) static void sub##SUFFIX(REAL *r, const REAL *a, const REAL *b, size_t n) {       \
    for (size_t i = 0; i < n; ++i) r[i] = a[i] - b[i];                                                       \
  }                                                                                                          \
  __attribute__((noinline)) static void mul##SUFFIX(REAL *r, const REAL *a, const REAL *b, size_t n) {       \
    for (size_t i = 0; i < n; ++i) r[i] = a[i] * b[i];                                                       \
  }                                                                                                          \
  __attribute__((noinline)) static void div##SUFFIX(REAL *r, const REAL *a, const REAL *b, size_t n) {       \
    for (size_t i = 0; i < n; ++i) r[i] = a[i] / b[i];                                                       \
  }                                                                                                          \
  __attribute__((noinline)) static void muladd##SUFFIX(REAL *r, const REAL *a, const REAL *b, size_t n) {    \
    for (size_t i = 0; i < n; ++i) r[i] = a[i] * b[i] + a[n - 1 - i];                                        \
  }                                                                                                          \
  __attribute__((noinline)) static void sqrt##SUFFIX##_(REAL *r, const REAL *a, const REAL *b, size_t n) {   \
    (void)b;                                                                                                 \
    for (size_t i = 0; i < n; ++i) r[i] = SQRT(FABS(a[i]));                                                  \
  }                                                                                                          \
  __attribute__((noinline)) static void exp##SUFFIX##_(REAL *r, const REAL *a, const REAL *b, size_t n) {    \
    (void)b;                                                                                                 \
    for (size_t i = 0; i < n; ++i) r[i] = EXP(a[i]);                                                         \
  }                                                                                                          \
  __attribute__((noinline)) static void log##SUFFIX##_(REAL *r, const REAL *a, const REAL *b, size_t n) {    \
    (void)b;                                                                                                 \
    for (size_t i = 0; i < n; ++i) r[i] = LOG(FABS(a[i]));                                                   \
  }                                                                                                          \
  __attribute__((noinline)) static void sin##SUFFIX##_(REAL *r, const REAL *a, const REAL *b, size_t n) {    \
    (void)b;                                                                                                 \
    for (size_t i = 0; i < n; ++i) r[i] = SIN(a[i]);                                                         \
  }                                                                                                          \
  __attribute__((noinline)) static void cos##SUFFIX##_(REAL *r, const REAL *a, const REAL *b, size_t n) {    \
    (void)b;                                                                                                 \
    for (size_t i = 0; i < n; ++i) r[i] = COS(a[i]);                                                         \
  }                                                                                                          \
  __attribute__((noinline)) static void pow##SUFFIX##_(REAL *r, const REAL *a, const REAL *b, size_t n) {    \
    for (size_t i = 0; i < n; ++i) r[i] = POW(FABS(a[i]), b[i]);                                             \
  }

OPERATIONS(double, d, fabs, exp, log, sin, cos, pow, sqrt)
OPERATIONS(float, f, fabsf, expf, logf, sinf, cosf, powf, sqrtf)

#define ENTRIES(REAL, SUFFIX)                                                                               \
  {"add", add##SUFFIX}, {"sub", sub##SUFFIX}, {"mul", mul##SUFFIX}, {"div", div##SUFFIX}, {"muladd", muladd##SUFFIX}, \
      {"sqrt", sqrt##SUFFIX##_}, {"exp", exp##SUFFIX##_}, {"log", log##SUFFIX##_}, {"sin", sin##SUFFIX##_},  \
      {"cos", cos##SUFFIX##_}, {"pow", pow##SUFFIX##_},

static const struct {
  const char *name;
  void (*run)(double *, const double *, const double *, size_t);
} doubles[] = {ENTRIES(double, d)};
static const struct {
  const char *name;
  void (*run)(float *, const float *, const float *, size_t);
} floats[] = {ENTRIES(float, f)};

static uint64_t hash(const void *data, size_t bytes) {
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < bytes; ++i) h = (h ^ ((const unsigned char *)data)[i]) * 1099511628211u;
  return h;
}

#define RUN(REAL, TABLE, OPERAND)                                                                 \
  for (size_t k = 0; k < sizeof TABLE / sizeof *TABLE; ++k) {                                     \
    if (strcmp(argv[1], TABLE[k].name) != 0) continue;                                            \
    REAL *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b), *r = calloc(n, sizeof *r);       \
    for (size_t i = 0; i < n; ++i) {                                                              \
      a[i] = OPERAND(argv[2]);                                                                    \
      b[i] = OPERAND(argv[2]);                                                                    \
    }                                                                                             \
    for (int round = 0; round < rounds; ++round) TABLE[k].run(r, a, b, n);                        \
    printf("%s %zu %016llx\n", argv[1], sizeof *r, (unsigned long long)hash(r, n * sizeof *r));   \
  }

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  const size_t n = strtoul(argv[3], NULL, 10);
  const int rounds = atoi(argv[4]);
  RUN(double, doubles, operand)
  RUN(float, floats, operand_float)
  return 0;
}

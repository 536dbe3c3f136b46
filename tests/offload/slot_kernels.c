/* Loops whose values lie in memory at fixed addresses. Compiled without optimisation by each compiler there is, which
   keeps every variable on the stack; NAME adds the compiler to each name. */
#include <stddef.h>
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)

/* `i` is counted in 8 bytes and read in 4. */
void NAME(narrowed)(float *out, const float *in, long n) {
  for (long i = 0; i < n; i++) out[(int)i] = in[(int)i] * 2.0f;
}

struct view {
  double *to;
  const double *from;
  size_t size;
};

/* The bound and both pointers are reached through a pointer on the stack. */
void NAME(through_pointers)(struct view *v) {
  for (size_t i = 0; i < v->size; i++) v->to[i] = v->from[i] + 1.0;
}

/* An array on the stack, with an index, between the slots of the same frame. */
void NAME(weighted)(double *out, const double *in, int n) {
  double weights[8] = {0.5, 0.25, -1.5, 2.0, 0.125, 3.0, -0.75, 1.0};
  for (int i = 0; i < n; i++) {
    double sum = 0;
    for (int k = 0; k < 8; k++) sum += weights[k] * in[i + k];
    out[i] = sum;
  }
}

struct pair {
  int low, high;
};

/* A structure is stored in parts and copied as a whole. */
void NAME(pairs)(struct pair *out, const int *in, int n) {
  for (int i = 0; i < n; i++) {
    struct pair p;
    p.low = in[i] * 3;
    p.high = in[i] ^ p.low;
    struct pair copy = p;
    copy.low += copy.high;
    out[i] = copy;
  }
}

void NAME(complex_sum)(float _Complex *out, const float _Complex *in, int n) {
  for (int i = 0; i < n; i++) {
    float _Complex z = in[i];
    __real__ z += 1.5f;
    out[i] = z + in[i];
  }
}

void NAME(decided)(uint8_t *out, const int *in, int n) {
  for (int i = 0; i < n; i++) {
    _Bool large = in[i] > 1000000, even = in[i] % 2 == 0;
    char sign = in[i] < 0 ? -1 : 1;
    out[i] = (uint8_t)(large + 2 * even + sign);
  }
}

typedef double four __attribute__((vector_size(32), aligned(8)));

/* Variables of 32 bytes. */
__attribute__((target("avx"))) void NAME(fours)(double *out, const double *in, long n) {
  for (long i = 0; i < n; i += 4) {
    four x = *(const four *)(in + i), square = x * x;
    four sum = square + x;
    sum[1] = x[0];
    *(four *)(out + i) = sum;
  }
}

/* With step 0 each pass writes `own`, which the next one reads. */
void NAME(own_frame)(int *out, const int *in, long n, long step) {
  int own = 3;
  int *target = step == 0 ? &own : out;
  for (long i = 0; i < n; i++) target[i * step] = in[i] + own;
  out[n] = own;
}

/* The same within one pass: two of them, of which one is the last. */
void NAME(own_frame_rows)(int *out, const int *in, long n, long step) {
  int own = 3;
  int *target = step == 0 ? &own : out;
  for (long row = 0; row < 2; row++)
    for (long i = 0; i < n; i++) target[i * step] = in[i] + own;
  out[n] = own;
}

/* Others watch how far it is, and stop it. */
static volatile long progress;
static volatile int stop;
volatile long *NAME(progress_of)(void) { return &progress; }
volatile int *NAME(stop_of)(void) { return &stop; }

long NAME(stoppable)(int *out, long n) {
  long i;
  for (i = 0; i < n; i++) {
    if (stop) break;
    int x = (int)i;
    for (int k = 0; k < 200; k++) x = x * 1664525 + k;
    out[i] = x;
    progress = i;
  }
  return i;
}

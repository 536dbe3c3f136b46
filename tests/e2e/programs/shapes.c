/* Loops of many shapes, each alone in a function that is called again and again: shapes NAME REPETITIONS. */
#include <sys/mman.h>

#include "support.h"

#define KERNEL __attribute__((noinline)) static

enum { kCount = 1 << 18, kSide = 510 }; /* 2 MiB of doubles; a matrix of kSide^2 fits */

static double *x, *y, *z;
static long counter;
static uint64_t steps;

KERNEL void scale(double* out, const double* in, long n, double factor) {
  for (long i = 0; i < n; ++i) out[i] = in[i] * factor + 1.0;
}

static void simple(long repetitions) {
  for (long r = 0; r < repetitions; ++r) scale(y, x, kCount, 1.0 + (double)r);
}

/* Trip counts of 0 to 5, entered a million times. */
static void tiny(long repetitions) {
  for (long r = 0; r < repetitions * 50000; ++r) scale(y + r % 100, x + r % 77, r % 6, 1.5);
}

/* Another size and other pointers at each entry. */
static void changing(long repetitions) {
  for (long r = 0; r < repetitions; ++r) {
    const long n = kCount / 2 + random_bits() % (kCount / 4);
    scale(y + random_bits() % (kCount / 4), x + random_bits() % (kCount / 4), n, 2.0);
  }
}

/* The bytes written might be the counter's own, so the compiler keeps it in memory. */
KERNEL void count_bytes(unsigned char* out, const unsigned char* in, long n) {
  for (long i = 0; i < n; ++i) {
    out[i] = in[i] ^ 0x5a;
    counter += 3;
  }
}

static void global_counter(long repetitions) {
  for (long r = 0; r < repetitions; ++r) count_bytes((unsigned char*)y, (unsigned char*)x, kCount);
  printf("counter %ld\n", counter);
}

/* As before, but once in a while the bytes written are the counter's own. */
static void global_counter_hit(long repetitions) {
  for (long r = 0; r < repetitions; ++r) {
    if (r % 50 == 49) {
      counter = 1;
      count_bytes((unsigned char*)&counter, (unsigned char*)x, 8);
      printf("counter %ld\n", counter);
    } else {
      count_bytes((unsigned char*)y, (unsigned char*)x, kCount);
    }
  }
  printf("counter %ld\n", counter);
}

struct vector {
  long size;
  long* data;
};

KERNEL void fill(struct vector* v, long value) {
  for (long i = 0; i < v->size; ++i) v->data[i] = i * value;
}

/* The struct could lie inside its own data: pointer and bound are read again in every pass. */
static void through_struct(long repetitions) {
  struct vector v = {kCount, (long*)y};
  for (long r = 0; r < repetitions; ++r) fill(&v, r);
}

/* And sometimes it does lie there: the loop then writes its own bound. */
static void struct_inside_its_data(long repetitions) {
  struct vector* inside = (struct vector*)((long*)y + kCount);
  struct vector outside = {kCount, (long*)y};
  for (long r = 0; r < repetitions; ++r) {
    fill(&outside, 1 + r % 7);
    if (r % 20 == 19) {
      inside->data = (long*)y + kCount / 2;
      inside->size = kCount;
      fill(inside, 1); /* at i = kCount/2 it makes its own size i, and ends */
      printf("size %ld\n", inside->size);
      memset(inside, 0, sizeof(*inside)); /* an address would make the checksum another one in every run */
    }
  }
}

KERNEL void down(int* out, const int* in, unsigned n) {
  for (unsigned i = n - 1; i < n; --i) out[i] = in[i] * 3 + 1; /* ends by wrapping around */
}

static void wrapping_end(long repetitions) {
  for (long r = 0; r < repetitions; ++r) down((int*)y, (const int*)x, kCount);
}

KERNEL void across(unsigned char* base, unsigned start, unsigned n) {
  for (unsigned k = 0; k != n; ++k) base[start + k] = (unsigned char)(k * 7); /* start + k wraps at 2^32 */
}

/* A 32-bit index that wraps in the middle of the loop: both ends of 4 GiB are written. */
static void wrapping_index(long repetitions) {
  unsigned char* base = mmap(0, 1ull << 32, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) exit(99);
  for (long r = 0; r < repetitions; ++r) across(base, 0u - kCount / 2 + (unsigned)(r % 3), kCount);
  print_checksum("low", base, kCount / 2 + 8);
  print_checksum("high", base + (1ull << 32) - kCount / 2, kCount / 2);
}

KERNEL void backwards(double* out, const double* in, long n) {
  for (long i = n; i-- > 0;) out[i] = in[n - 1 - i] * 0.5;
}

static void negative_stride(long repetitions) {
  for (long r = 0; r < repetitions; ++r) backwards(y, x, kCount);
}

KERNEL void columns(double* out, const double* in, long n, long pitch) {
  for (long i = 0; i < n; ++i)
    for (long j = 0; j < n; ++j) out[j * pitch + i] = blend(in[i * pitch + j], 1.0);
}

static void column_major(long repetitions) {
  for (long r = 0; r < repetitions; ++r) columns(y, x, kSide, kSide + 1);
}

KERNEL void triangle(double* out, const double* in, long n) {
  for (long i = 0; i < n; ++i)
    for (long j = 0; j <= i; ++j) out[i * n + j] = blend(in[i * n + j], in[j]);
}

static void triangular(long repetitions) {
  for (long r = 0; r < repetitions; ++r) triangle(y, x, kSide);
}

KERNEL long until(double* out, const double* in, long n, double stop) {
  long i = 0;
  for (; i < n; ++i) {
    if (in[i] == stop) break;
    out[i] = in[i] * 2.0;
  }
  return i;
}

static void breaking(long repetitions) {
  long sum = 0;
  for (long r = 0; r < repetitions; ++r) {
    memset(y, 0, kCount * 8);
    sum += until(y, x, kCount, x[(r * 977) % kCount]);
  }
  printf("sum %ld\n", sum);
}

/* More live values than registers: the compiler keeps some on the stack, the more so at -O1. */
KERNEL void spilled(double* o, const double* a, const double* b, long n, long p, long q, long r, long s, long t, long u,
                    double c, double d, double e, double f) {
  for (long i = 1; i < n - 1; ++i)
    for (long j = 1; j < n - 1; ++j)
      o[i * p + j] = c * a[i * q + j] + d * a[(i - 1) * q + j] + e * a[(i + 1) * q + j] + f * b[i * r + j - 1] +
                     c * b[i * r + j + 1] + d * a[i * s + j] + e * b[j * t + i] + f * a[i * u + j];
}

static void many_values(long repetitions) {
  for (long r = 0; r < repetitions; ++r) spilled(y, x, z, 480, 500, 501, 502, 503, 3, 5, 0.1, 0.2, 0.3, 0.4);
}

KERNEL void smooth(double* out, const double* in, long n) {
  for (long i = 1; i < n - 1; ++i)
    for (long j = 1; j < n - 1; ++j)
      out[i * n + j] = 0.2 * (in[i * n + j] + in[(i - 1) * n + j] + in[(i + 1) * n + j] + in[i * n + j - 1] + in[i * n + j + 1]);
}

static void stencil(long repetitions) {
  for (long r = 0; r < repetitions; ++r) {
    smooth(y, x, kSide);
    smooth(x, y, kSide);
  }
}

/* In place: every element needs the one just computed. */
KERNEL void relax(double* a, long n) {
  for (long i = 1; i < n; ++i) a[i] = 0.5 * (a[i - 1] + a[i]);
}

static void in_place(long repetitions) {
  for (long r = 0; r < repetitions; ++r) relax(y, kCount);
}

KERNEL double dot(const double* a, const double* b, long n) {
  double sum = 0;
  for (long i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

static void reduction(long repetitions) {
  double sum = 0;
  for (long r = 0; r < repetitions; ++r) {
    x[r % kCount] += 0.125;
    sum += dot(x, z, kCount);
  }
  printf("sum %a\n", sum);
}

KERNEL void matvec(double* out, const double* m, const double* v, long n) {
  for (long i = 0; i < n; ++i) {
    double sum = 0;
    for (long j = 0; j < n; ++j) sum += m[i * n + j] * v[j];
    out[i] = sum;
  }
}

static void row_reductions(long repetitions) {
  for (long r = 0; r < repetitions; ++r) matvec(y, x, z, kSide);
}

KERNEL void gather(double* out, const double* in, const int* index, long n) {
  for (long i = 0; i < n; ++i) out[i] = in[index[i] & (kCount - 1)] + 1.0;
}

static void indirect_read(long repetitions) {
  for (long r = 0; r < repetitions; ++r) gather(y, x, (const int*)z, kCount);
}

KERNEL void scatter(double* out, const double* in, const int* index, long n) {
  for (long i = 0; i < n; ++i) out[index[i] & (kCount - 1)] = in[i] + 1.0;
}

static void indirect_write(long repetitions) {
  for (long r = 0; r < repetitions; ++r) scatter(y, x, (const int*)z, kCount);
}

KERNEL void strided(double* out, const double* in, long n, long step) {
  for (long i = 0; i < n; i += step) out[i] = in[i] + (double)i;
}

static void steps_vary(long repetitions) {
  for (long r = 0; r < repetitions * 2; ++r) strided(y, x, kCount, 1 + r % 5);
}

/* One entry that runs for the whole program: only entered in the middle of it can it be taken over. */
KERNEL void long_running(double* a, double* b, long rounds) {
  for (long r = 0; r < rounds; ++r) {
    for (long i = 0; i < kCount; ++i) a[i] = b[i] * 0.999 + 0.001;
    for (long i = 0; i < kCount; ++i) b[i] = a[i] * 0.998 + 0.002;
  }
}

static void entered_once(long repetitions) { long_running(x, y, repetitions); }

KERNEL uint64_t conditional(double* out, const double* in, long n) {
  uint64_t taken = 0;
  for (long i = 0; i < n; ++i) {
    if (in[i] > 0.5) {
      out[i] = in[i] * 2.0;
      ++taken;
    } else {
      out[i] = -in[i];
    }
  }
  return taken;
}

static void branches(long repetitions) {
  for (long r = 0; r < repetitions; ++r) steps += conditional(y, x, kCount);
  printf("taken %llu\n", (unsigned long long)steps);
}

static const struct {
  const char* name;
  void (*run)(long);
} shapes[] = {
    {"simple", simple},
    {"tiny", tiny},
    {"changing", changing},
    {"global_counter", global_counter},
    {"global_counter_hit", global_counter_hit},
    {"through_struct", through_struct},
    {"struct_inside_its_data", struct_inside_its_data},
    {"wrapping_end", wrapping_end},
    {"wrapping_index", wrapping_index},
    {"negative_stride", negative_stride},
    {"column_major", column_major},
    {"triangular", triangular},
    {"breaking", breaking},
    {"many_values", many_values},
    {"stencil", stencil},
    {"in_place", in_place},
    {"reduction", reduction},
    {"row_reductions", row_reductions},
    {"indirect_read", indirect_read},
    {"indirect_write", indirect_write},
    {"steps_vary", steps_vary},
    {"entered_once", entered_once},
    {"branches", branches},
};

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  x = allocate(2 * kCount * 8);
  y = allocate(2 * kCount * 8);
  z = allocate(2 * kCount * 8);
  for (long i = 0; i < 2 * kCount; ++i) {
    x[i] = (double)(random_bits() >> 11) * 0x1p-53;
    y[i] = 0;
    z[i] = (double)(random_bits() >> 11) * 0x1p-53;
  }
  for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); ++s) {
    if (strcmp(shapes[s].name, argv[1]) != 0) continue;
    shapes[s].run(atol(argv[2]));
    print_checksum("x", x, 2 * kCount * 8);
    print_checksum("y", y, 2 * kCount * 8);
    return 0;
  }
  return 2;
}

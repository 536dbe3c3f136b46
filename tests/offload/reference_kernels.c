/* Loops that hand the addresses of their locals to functions: results by reference, structures, arrays. */
#include <math.h>
#include <stddef.h>

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define KERNEL(name) void JOIN(reference_##name, LEVEL)(double* out, const double* in, size_t n)
#ifdef __clang__
#define OWN static __attribute__((noinline))
#else
#define OWN static __attribute__((noinline, noclone))
#endif

typedef struct {
  double x, y, z;
} vector;

OWN void pull(const vector* from, const vector* to, vector* force) {
  double dx = to->x - from->x, dy = to->y - from->y, dz = to->z - from->z;
  double length = sqrt(dx * dx + dy * dy + dz * dz + 1);
  force->x += dx / length;
  force->y += dy / length;
  force->z += dz / length;
}
KERNEL(structure) {
  const vector* at = (const vector*)in;
  vector* force = (vector*)out;
  for (size_t i = 1; i + 1 < n / 3; i++) {
    vector sum = {0.0, -9.81, 0.0};
    pull(&at[i], &at[i - 1], &sum);
    pull(&at[i], &at[i + 1], &sum);
    force[i].x = 0.5 * sum.x;
    force[i].y = 0.5 * sum.y;
    force[i].z = 0.5 * sum.z;
  }
}

OWN void bounds(double x, double* low, double* high) {
  *low = x < 0 ? x * 2 : x / 2;
  *high = x < 0 ? x / 2 : x * 2;
}
KERNEL(results) {
  for (size_t i = 0; i < n; i++) {
    double low, high;
    bounds(in[i], &low, &high);
    out[i] = high - low * 3;
  }
}

OWN void exchange(double* a, double* b) {
  double kept = *a;
  *a = *b;
  *b = kept;
}
KERNEL(neighbours) {
  for (size_t i = 0; i + 1 < n; i++) {
    double a = in[i], b = in[i + 1];
    if (a < b) exchange(&a, &b);
    out[i] = a - b;
  }
}

OWN void keep_positive(double x, double* kept) {
  if (x > 0) *kept = x;
}
KERNEL(sometimes) {
  for (size_t i = 0; i < n; i++) {
    double kept = -1;
    keep_positive(in[i], &kept);
    out[i] = kept;
  }
}
/* What a pass does not write is from an earlier one. */
KERNEL(carried) {
  double kept = -1;
  for (size_t i = 0; i < n; i++) {
    keep_positive(in[i], &kept);
    out[i] = kept;
  }
}

OWN void add_to(double* sum, double x) { *sum += x; }
KERNEL(twice) {
  for (size_t i = 0; i + 1 < n; i++) {
    double even = 1, odd = 2;
    add_to(&even, in[i]);
    add_to(&odd, in[i + 1]);
    add_to(&even, odd);
    out[i] = even / odd;
  }
}

OWN void powers(double x, double four[4]) {
  four[0] = x;
  four[1] = x * x;
  four[2] = four[1] * x;
  four[3] = four[1] * four[1];
}
OWN double weighted(const double four[4]) { return four[0] + 0.5 * four[1] - 0.25 * four[2] + 0.125 * four[3]; }
KERNEL(array) {
  for (size_t i = 0; i < n; i++) {
    double four[4];
    powers(in[i], four);
    out[i] = weighted(four);
  }
}

OWN double add_both(double* a, double* b, double x) {
  add_to(a, x);
  add_to(b, x * 2);
  return *a - *b;
}
KERNEL(handed_on) {
  for (size_t i = 0; i < n; i++) {
    double a = 1, b = 2;
    double difference = add_both(&a, &b, in[i]);
    out[i] = difference * a + b;
  }
}

typedef struct {
  int whole;
  short half;
  unsigned char byte, flag;
  float single;
  double number;
} mixed;
OWN void split(double x, mixed* m) {
  m->whole = (int)(x * 1000);
  m->half = (short)(m->whole >> 1);
  m->byte = (unsigned char)m->half;
  m->flag = x > 0;
  m->single = (float)x;
  m->number += x;
}
KERNEL(mixed_sizes) {
  for (size_t i = 0; i < n; i++) {
    mixed m;
    m.number = 0.5;
    split(in[i], &m);
    out[i] = m.whole + m.half * 2 + m.byte * 3 + m.flag * 4 + m.single + m.number;
  }
}

typedef struct {
  double *sum, *product;
  double x;
} request;
OWN void serve(request* r) {
  *r->sum += r->x;
  *r->product *= r->x;
}
KERNEL(pointers_inside) {
  for (size_t i = 0; i < n; i++) {
    double sum = 1, product = 2;
    request r = {&sum, &product, in[i]};
    serve(&r);
    out[i] = sum - product;
  }
}

/* The function writes what its argument tells, a local or not. */
KERNEL(either) {
  for (size_t i = 0; i < n; i++) {
    double own = in[i];
    add_to(in[i] > 0 ? &own : &out[i], 0.5);
    out[i] += own;
  }
}

/* Somebody else knows the local too. */
double* volatile JOIN(reference_known, LEVEL);
KERNEL(known_elsewhere) {
  double own = 1;
  JOIN(reference_known, LEVEL) = &own;
  double* other = JOIN(reference_known, LEVEL);
  for (size_t i = 0; i < n; i++) {
    own = in[i];
    add_to(other, 0.25);
    out[i] = own;
  }
}

/* The function changes the variable in which its caller keeps the pointer. */
OWN void move_on(double** to, double* there) { *to = there; }
KERNEL(moved_pointer) {
  for (size_t i = 0; i < n; i++) {
    double own = 1, other = 2;
    double* to = &own;
    if (in[i] > 0) move_on(&to, &other);
    add_to(to, in[i]);
    out[i] = own - other;
  }
}

/* Loops whose addresses depend on what is left of the pass's number modulo a small power of two. Each kernel: an n x n grid at
   u, another at f, `by` says which pass begins where. */
#include <stdint.h>

#define PASTE2(a, b) a##_##b
#define PASTE(a, b) PASTE2(a, b)
#define NAME(n) PASTE(n, LEVEL)
#define KERNEL(name) void NAME(name)(double *u, const double *f, int n, int by)

/* Red points and black points: one colour is computed from the other, in place. */
KERNEL(remainder_red_black) {
  for (int i = 1; i < n - 1; i++)
    for (int j = 1 + (i + by) % 2; j < n - 1; j += 2)
      u[i * n + j] += 1.5 * (0.25 * (u[(i - 1) * n + j] + u[(i + 1) * n + j] + u[i * n + j - 1] + u[i * n + j + 1] - f[i * n + j]) - u[i * n + j]);
}

/* The same without signs, from the last row to the first. */
KERNEL(remainder_backwards) {
  for (unsigned i = (unsigned)n - 2; i > 0; i--)
    for (unsigned j = 1 + ((i + (unsigned)by) & 1); j < (unsigned)n - 1; j += 2) {
      uint64_t at = (uint64_t)i * (unsigned)n + j;
      u[at] = 0.25 * (u[at - (unsigned)n] + u[at + (unsigned)n]) + f[at];
    }
}

/* Every fourth point, each row a column further on; four rows on, it is read. */
KERNEL(remainder_four_colours) {
  for (int i = 0; i < n; i++)
    for (unsigned j = (unsigned)(i + by) & 3; j + 1 < (unsigned)n; j += 4) u[i * n + (int)j] = u[i * n + (int)j + 1] * 1.5 + f[(unsigned)i & 3];
}

/* Like red_black, but for one row the colour is wrong: it reads what the row before writes. */
KERNEL(remainder_wrong_colour) {
  for (int i = 1; i < n - 1; i++)
    for (int j = 1 + (i + by) % 2; j < n - 1; j += 2) u[i * n + j] += u[(i - 1) * n + j + 1] + f[i * n + j];
}

/* The place in f is an int, but for the first time round. */
KERNEL(remainder_int_place) {
  int64_t at = (int64_t)by << 33;
  for (int i = 0; i < n * n; i++) {
    u[i] = f[(at >> 33) + (at & 1)] + i;
    at = (int)at + n;
  }
}

/* A row of eight factors, in turn. */
KERNEL(remainder_in_turn) {
  for (int i = 0; i < n * n; i++) u[i] = f[(i * 3 + by) & 7] + i;
}

/* Two buffers in turn: pass i writes the one that pass i + 1 does not. */
KERNEL(remainder_two_halves) {
  for (int i = 0; i < n / 2; i++)
    for (int j = 0; j < n; j++) u[(i & 1) * n * n / 2 + (i / 2) * n + j] = f[i * n + j] * 0.5 + by;
}

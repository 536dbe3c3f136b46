/* Multigrid V-cycles for the Poisson equation on a square, weighted Jacobi as smoother.
   Usage: multigrid [levels] [cycles] */
#include "program.h"

typedef struct {
  int n; /* points a side, the border included */
  double *u, *f, *scratch;
} Grid;

static void smooth(const Grid* grid, int times) {
  int n = grid->n;
  for (int t = 0; t < times; t++) {
    double *from = t % 2 ? grid->scratch : grid->u, *to = t % 2 ? grid->u : grid->scratch;
#pragma omp parallel for if (n > 100)
    for (int i = 1; i < n - 1; i++) {
      for (int j = 1; j < n - 1; j++) {
        size_t at = (size_t)i * n + j;
        double next = 0.25 * (from[at - n] + from[at + n] + from[at - 1] + from[at + 1] + grid->f[at]);
        to[at] = from[at] + 0.8 * (next - from[at]);
      }
    }
  }
}

/* The residual of `fine`, every second point of it averaged, becomes the right hand side of `coarse`. */
static void restrict_residual(const Grid* fine, const Grid* coarse) {
  int n = fine->n, m = coarse->n;
  const double* u = fine->u;
#pragma omp parallel for if (n > 100)
  for (int i = 1; i < n - 1; i++) {
    for (int j = 1; j < n - 1; j++) {
      size_t at = (size_t)i * n + j;
      fine->scratch[at] = fine->f[at] - (4.0 * u[at] - u[at - n] - u[at + n] - u[at - 1] - u[at + 1]);
    }
  }
  memset(coarse->u, 0, (size_t)m * m * sizeof(double));
  memset(coarse->scratch, 0, (size_t)m * m * sizeof(double));
  for (int i = 1; i < m - 1; i++) {
    for (int j = 1; j < m - 1; j++) {
      const double* r = fine->scratch + (size_t)2 * i * n + 2 * j;
      coarse->f[(size_t)i * m + j] =
          r[0] + 0.5 * (r[-n] + r[n] + r[-1] + r[1]) + 0.25 * (r[-n - 1] + r[-n + 1] + r[n - 1] + r[n + 1]);
    }
  }
}

static void add_correction(const Grid* coarse, const Grid* fine) {
  int n = fine->n, m = coarse->n;
  for (int i = 1; i < n - 1; i++) {
    for (int j = 1; j < n - 1; j++) {
      const double* c = coarse->u + (size_t)(i / 2) * m + j / 2;
      double below = i % 2 ? 0.5 * (c[0] + c[m]) : c[0];
      double beside = i % 2 ? 0.5 * (c[1] + c[m + 1]) : c[1];
      fine->u[(size_t)i * n + j] += j % 2 ? 0.5 * (below + beside) : below;
    }
  }
}

int main(int argc, char** argv) {
  int levels = size_argument(argc, argv, 1, 10);
  int cycles = size_argument(argc, argv, 2, 25);
  Grid grids[32];
  if (levels > 14) levels = 14;
  for (int level = 0; level < levels; level++) {
    int n = (2 << (levels - level)) + 1;
    size_t points = (size_t)n * n;
    grids[level] = (Grid){n, allocate(points, 8), allocate(points, 8), allocate(points, 8)};
    memset(grids[level].u, 0, points * 8);
    memset(grids[level].scratch, 0, points * 8);
  }
  fill_random(grids[0].f, (size_t)grids[0].n * grids[0].n, -1, 1, 1);
  for (int cycle = 0; cycle < cycles; cycle++) {
    for (int level = 0; level + 1 < levels; level++) {
      smooth(&grids[level], 4);
      restrict_residual(&grids[level], &grids[level + 1]);
      memset(grids[level].scratch, 0, (size_t)grids[level].n * grids[level].n * sizeof(double));
    }
    smooth(&grids[levels - 1], 50);
    for (int level = levels - 2; level >= 0; level--) {
      add_correction(&grids[level + 1], &grids[level]);
      smooth(&grids[level], 4);
    }
  }
  print_checksum("u", grids[0].u, (size_t)grids[0].n * grids[0].n * sizeof(double));
}

/* Lattice Boltzmann flow through random obstacles, nine directions, periodic. Usage: lattice_boltzmann [n] [steps] */
#include "program.h"

static const int kX[9] = {0, 1, 0, -1, 0, 1, -1, -1, 1};
static const int kY[9] = {0, 0, 1, 0, -1, 1, 1, -1, -1};
static const int kOpposite[9] = {0, 3, 4, 1, 2, 7, 8, 5, 6};
static const double kWeight[9] = {4.0 / 9, 1.0 / 9, 1.0 / 9, 1.0 / 9, 1.0 / 9, 1.0 / 36, 1.0 / 36, 1.0 / 36, 1.0 / 36};

typedef double Cell[9];

static void step(int n, const uint8_t* solid, const Cell* from, Cell* to) {
#pragma omp parallel for
  for (int y = 0; y < n; y++) {
    for (int x = 0; x < n; x++) {
      double f[9];
      for (int d = 0; d < 9; d++) {
        int from_x = (x - kX[d] + n) % n, from_y = (y - kY[d] + n) % n;
        f[d] = from[(size_t)from_y * n + from_x][d];
      }
      size_t at = (size_t)y * n + x;
      if (solid[at]) {
        for (int d = 0; d < 9; d++) to[at][kOpposite[d]] = f[d];
        continue;
      }
      double density = 0.0, u = 0.0, v = 0.0;
      for (int d = 0; d < 9; d++) {
        density += f[d];
        u += kX[d] * f[d];
        v += kY[d] * f[d];
      }
      u = u / density + 1e-5;
      v /= density;
      double square = 1.5 * (u * u + v * v);
      for (int d = 0; d < 9; d++) {
        double along = 3.0 * (kX[d] * u + kY[d] * v);
        double equilibrium = kWeight[d] * density * (1.0 + along + 0.5 * along * along - square);
        to[at][d] = f[d] + 1.2 * (equilibrium - f[d]);
      }
    }
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 500);
  int steps = size_argument(argc, argv, 2, 140);
  size_t cells = (size_t)n * n;
  uint8_t* solid = allocate(cells, 1);
  Cell* a = allocate(cells, sizeof *a);
  Cell* b = allocate(cells, sizeof *b);
  uint64_t seed = 1;
  for (size_t i = 0; i < cells; i++) {
    solid[i] = random_bits(&seed) % 10 == 0;
    for (int d = 0; d < 9; d++) a[i][d] = kWeight[d] * random_between(&seed, 0.9, 1.1);
  }
  for (int s = 0; s < steps; s++) {
    step(n, solid, a, b);
    Cell* kept = a;
    a = b;
    b = kept;
  }
  print_checksum("cells", a, cells * sizeof *a);
}

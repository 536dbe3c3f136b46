/* A hanging cloth: masses on a grid, springs to four neighbours, semi-implicit Euler steps. Usage: cloth [n] [steps] */
#include <math.h>

#include "program.h"

typedef struct {
  double x, y, z;
} Vector;

static void pull(const Vector* from, const Vector* to, Vector* force) {
  double dx = to->x - from->x, dy = to->y - from->y, dz = to->z - from->z;
  double length = sqrt(dx * dx + dy * dy + dz * dz);
  double strength = 400.0 * (length - 1.0) / length;
  force->x += strength * dx;
  force->y += strength * dy;
  force->z += strength * dz;
}

static void step(int n, double dt, Vector* at, Vector* speed) {
#pragma omp parallel for
  for (int i = 1; i < n; i++) { /* the first row is fixed */
    for (int j = 0; j < n; j++) {
      const Vector* here = &at[i * n + j];
      Vector force = {0.0, -9.81, 0.0};
      pull(here, here - n, &force);
      if (i + 1 < n) pull(here, here + n, &force);
      if (j > 0) pull(here, here - 1, &force);
      if (j + 1 < n) pull(here, here + 1, &force);
      Vector* v = &speed[i * n + j];
      v->x = 0.999 * (v->x + dt * force.x);
      v->y = 0.999 * (v->y + dt * force.y);
      v->z = 0.999 * (v->z + dt * force.z);
    }
  }
#pragma omp parallel for
  for (int i = n; i < n * n; i++) {
    at[i].x += dt * speed[i].x;
    at[i].y += dt * speed[i].y;
    at[i].z += dt * speed[i].z;
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 200);
  int steps = size_argument(argc, argv, 2, 4000);
  Vector* at = allocate((size_t)n * n, sizeof *at);
  Vector* speed = allocate((size_t)n * n, sizeof *speed);
  uint64_t seed = 1;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) at[i * n + j] = (Vector){j, -i, random_between(&seed, -0.1, 0.1)};
  memset(speed, 0, (size_t)n * n * sizeof *speed);
  for (int s = 0; s < steps; s++) step(n, 0.005, at, speed);
  print_checksum("cloth", at, (size_t)n * n * sizeof *at);
}

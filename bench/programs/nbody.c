/* Gravity between all pairs of bodies, an array of structs of doubles, leapfrog steps. Usage: nbody [bodies] [steps] */
#include <math.h>

#include "program.h"

typedef struct {
  double x, y, z, vx, vy, vz, mass;
} Body;

static void kick(int n, double dt, Body* bodies) {
#pragma omp parallel for
  for (int i = 0; i < n; i++) {
    double ax = 0.0, ay = 0.0, az = 0.0;
    for (int j = 0; j < n; j++) {
      double dx = bodies[j].x - bodies[i].x, dy = bodies[j].y - bodies[i].y, dz = bodies[j].z - bodies[i].z;
      double square = dx * dx + dy * dy + dz * dz + 1e-4;
      double pull = bodies[j].mass / (square * sqrt(square));
      ax += pull * dx;
      ay += pull * dy;
      az += pull * dz;
    }
    bodies[i].vx += dt * ax;
    bodies[i].vy += dt * ay;
    bodies[i].vz += dt * az;
  }
}

static void drift(int n, double dt, Body* bodies) {
  for (int i = 0; i < n; i++) {
    bodies[i].x += dt * bodies[i].vx;
    bodies[i].y += dt * bodies[i].vy;
    bodies[i].z += dt * bodies[i].vz;
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 2000);
  int steps = size_argument(argc, argv, 2, 190);
  Body* bodies = allocate(n, sizeof *bodies);
  uint64_t seed = 1;
  for (int i = 0; i < n; i++) {
    bodies[i] = (Body){.mass = 1.0 / n};
    bodies[i].x = random_between(&seed, -1, 1);
    bodies[i].y = random_between(&seed, -1, 1);
    bodies[i].z = random_between(&seed, -1, 1);
  }
  for (int s = 0; s < steps; s++) {
    kick(n, 0.001, bodies);
    drift(n, 0.001, bodies);
  }
  print_checksum("bodies", bodies, n * sizeof *bodies);
}

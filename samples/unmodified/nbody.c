/* Bodies in a plane that attract each other with a softened 1/r force, all pairs. Usage: nbody [bodies] [steps] */
#include <stdio.h>
#include <stdlib.h>

struct body {
  double x, y;
  double vx, vy;
  double ax, ay;
  double mass;
};

static double uniform(unsigned* seed) {
  *seed = *seed * 1103515245u + 12345u;
  return (double)(*seed >> 7) / (1 << 25);
}

static void accelerate(struct body* bodies, int n) {
  const double softening = 0.01;
  for (int i = 0; i < n; i++) {
    double ax = 0.0, ay = 0.0;
    for (int j = 0; j < n; j++) {
      double dx = bodies[j].x - bodies[i].x;
      double dy = bodies[j].y - bodies[i].y;
      double f = bodies[j].mass / (dx * dx + dy * dy + softening);
      ax += f * dx;
      ay += f * dy;
    }
    bodies[i].ax = ax;
    bodies[i].ay = ay;
  }
}

static void move(struct body* bodies, int n, double dt) {
  for (int i = 0; i < n; i++) {
    bodies[i].vx += dt * bodies[i].ax;
    bodies[i].vy += dt * bodies[i].ay;
    bodies[i].x += dt * bodies[i].vx;
    bodies[i].y += dt * bodies[i].vy;
  }
}

int main(int argc, char** argv) {
  int n = argc > 1 ? atoi(argv[1]) : 5000;
  int steps = argc > 2 ? atoi(argv[2]) : 130;
  struct body* bodies = malloc(sizeof(struct body) * (n > 0 ? n : 1));
  if (n < 1 || !bodies) {
    fprintf(stderr, "usage: nbody [bodies] [steps]\n");
    return 1;
  }
  unsigned seed = 42;
  for (int i = 0; i < n; i++) {
    bodies[i].x = uniform(&seed) * 2.0 - 1.0;
    bodies[i].y = uniform(&seed) * 2.0 - 1.0;
    bodies[i].vx = -bodies[i].y;
    bodies[i].vy = bodies[i].x;
    bodies[i].mass = (0.5 + uniform(&seed)) / n;
  }
  for (int t = 0; t < steps; t++) {
    accelerate(bodies, n);
    move(bodies, n, 0.01);
  }

  double px = 0.0, py = 0.0, energy = 0.0;
  for (int i = 0; i < n; i++) {
    px += bodies[i].mass * bodies[i].vx;
    py += bodies[i].mass * bodies[i].vy;
    energy += 0.5 * bodies[i].mass * (bodies[i].vx * bodies[i].vx + bodies[i].vy * bodies[i].vy);
  }
  printf("bodies = %d, steps = %d\n", n, steps);
  printf("momentum = (%.15g, %.15g)\n", px, py);
  printf("kinetic energy = %.15g\n", energy);
  for (int i = 0; i < n; i += (n + 4) / 5) printf("body %d at (%.15g, %.15g)\n", i, bodies[i].x, bodies[i].y);
  free(bodies);
  return 0;
}

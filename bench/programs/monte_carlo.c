/* An Asian option by simulation: each path has a generator of its own, the mean price decides.
   Usage: monte_carlo [paths] [steps] */
#include <math.h>

#include "program.h"

static double payoff(uint64_t path, int steps, double strike) {
  uint64_t state = path * 2862933555777941757u + 3037000493u;
  double price = 100.0, total = 0.0, up = exp(0.2 / sqrt(steps)), down = 1.0 / up;
  for (int s = 0; s < steps; s++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    price *= state >> 63 ? up : down;
    total += price;
  }
  double mean = total / steps;
  return mean > strike ? mean - strike : 0.0;
}

int main(int argc, char** argv) {
  int paths = size_argument(argc, argv, 1, 1300000);
  int steps = size_argument(argc, argv, 2, 400);
  double* payoffs = allocate(paths, sizeof *payoffs);
#pragma omp parallel for
  for (int p = 0; p < paths; p++) payoffs[p] = payoff((uint64_t)p, steps, 100.0);
  double sum = 0.0;
  for (int p = 0; p < paths; p++) sum += payoffs[p];
  printf("price %a\n", sum / paths);
  print_checksum("payoffs", payoffs, paths * sizeof *payoffs);
}

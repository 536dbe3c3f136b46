/* Prices of European options by Black and Scholes, repeated for changing volatilities.
   Usage: black_scholes [options] [rounds] */
#include <math.h>

#include "program.h"

typedef struct {
  double spot, strike, years, volatility;
} Option;

static double normal(double x) { return 0.5 * (1.0 + erf(x * 0.70710678118654752)); }

static void price(int n, double rate, double shift, const Option* options, double* call, double* put) {
#pragma omp parallel for
  for (int i = 0; i < n; i++) {
    Option o = options[i];
    double volatility = o.volatility + shift;
    double spread = volatility * sqrt(o.years);
    double d1 = (log(o.spot / o.strike) + (rate + 0.5 * volatility * volatility) * o.years) / spread;
    double d2 = d1 - spread;
    double discounted = o.strike * exp(-rate * o.years);
    call[i] += o.spot * normal(d1) - discounted * normal(d2);
    put[i] += discounted * normal(-d2) - o.spot * normal(-d1);
  }
}

int main(int argc, char** argv) {
  int n = size_argument(argc, argv, 1, 1000000);
  int rounds = size_argument(argc, argv, 2, 35);
  Option* options = allocate(n, sizeof *options);
  double* call = allocate(n, sizeof *call);
  double* put = allocate(n, sizeof *put);
  uint64_t seed = 1;
  for (int i = 0; i < n; i++) {
    options[i].spot = random_between(&seed, 5, 30);
    options[i].strike = random_between(&seed, 1, 100);
    options[i].years = random_between(&seed, 0.25, 10);
    options[i].volatility = random_between(&seed, 0.1, 0.6);
    call[i] = put[i] = 0.0;
  }
  for (int r = 0; r < rounds; r++) price(n, 0.02, 0.01 * r, options, call, put);
  print_checksum("call", call, n * sizeof *call);
  print_checksum("put", put, n * sizeof *put);
}

// Loops that spend their time in libm. libm FUNCTION SIZE ROUNDS: prints a hash of all results' bits and some results.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash_of(const double* values, size_t n) {
  uint64_t hash = 1469598103934665603u;
  for (size_t i = 0; i < n; ++i) {
    uint64_t bits;
    memcpy(&bits, &values[i], sizeof(bits));
    hash = (hash ^ bits) * 1099511628211u;
  }
  return hash;
}

static void run_exp(double* out, const double* in, size_t n) { for (size_t i = 0; i < n; ++i) out[i] = exp(in[i]); }
static void run_log(double* out, const double* in, size_t n) { for (size_t i = 0; i < n; ++i) out[i] = log(fabs(in[i]) + 1e-3); }
static void run_sin(double* out, const double* in, size_t n) { for (size_t i = 0; i < n; ++i) out[i] = sin(in[i]); }
static void run_cos(double* out, const double* in, size_t n) { for (size_t i = 0; i < n; ++i) out[i] = cos(in[i]); }
static void run_pow(double* out, const double* in, size_t n) { for (size_t i = 0; i < n; ++i) out[i] = pow(fabs(in[i]), 1.37); }
static void run_erf(double* out, const double* in, size_t n) { for (size_t i = 0; i < n; ++i) out[i] = erf(in[i]); }
static void run_all(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const double x = in[i];
    out[i] = exp(-x * x) * sin(x) + log(1 + x * x) * cos(3 * x) - pow(fabs(x) + 0.1, 0.7) + erf(x);
  }
}

// The value of an option, as in the book; exp and log behind a call of our own.
static double __attribute__((noinline)) normal_cdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
static void run_option(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const double spot = 100 + in[i], strike = 105, rate = 0.02, volatility = 0.3, years = 1.5;
    const double deviation = volatility * sqrt(years);
    const double d1 = (log(spot / strike) + (rate + 0.5 * volatility * volatility) * years) / deviation;
    out[i] = spot * normal_cdf(d1) - strike * exp(-rate * years) * normal_cdf(d1 - deviation);
  }
}

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    void (*run)(double*, const double*, size_t);
  } functions[] = {{"exp", run_exp}, {"log", run_log}, {"sin", run_sin}, {"cos", run_cos},
                   {"pow", run_pow}, {"erf", run_erf}, {"all", run_all}, {"option", run_option}};
  if (argc != 4) return 2;
  const size_t n = strtoul(argv[2], NULL, 10);
  const int rounds = atoi(argv[3]);
  double* in = malloc(n * sizeof(double));
  double* out = malloc(n * sizeof(double));
  uint64_t state = 42;
  for (size_t i = 0; i < n; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    in[i] = (double)(int64_t)state / 9.3e17;  // about -10 to 10
  }
  for (size_t f = 0; f < sizeof(functions) / sizeof(functions[0]); ++f) {
    if (strcmp(functions[f].name, argv[1]) != 0) continue;
    for (int round = 0; round < rounds; ++round) {
      functions[f].run(out, in, n);
      in[round % n] += 0.125;
    }
    printf("%s %016llx %.17g %.17g\n", argv[1], (unsigned long long)hash_of(out, n), out[0], out[n / 2]);
    return 0;
  }
  return 2;
}

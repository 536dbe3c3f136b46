// What relaxed math computes otherwise. relaxed FUNCTION SIZE ROUNDS: prints one number a line.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double run_sum(double* out, const double* in, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += in[i] * in[i];
  out[0] = sum;
  return sum;
}

static double run_exp(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = exp(in[i]) + log(in[i] + 1);
  return out[n / 2];
}

static double run_polynomial(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    double y = in[i];
    for (int k = 0; k < 24; ++k) y = y * in[i] + 0.5;
    out[i] = y;
  }
  return out[n / 3];
}

// Rounds by means of rounding errors: relaxed math undoes that.
static double run_rounded(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    double y = in[i];
    for (int k = 1; k < 8; ++k) y += (in[i] * k * 100 + 0x1.8p52) - 0x1.8p52;
    out[i] = y;
  }
  return out[n / 3];
}

// The same beside a call of libm.
static double run_rounded_exp(double* out, const double* in, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = exp(in[i]) + (in[i] * 100 + 0x1.8p52) - 0x1.8p52;
  return out[n / 3];
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const size_t n = strtoul(argv[2], NULL, 10);
  const long rounds = strtol(argv[3], NULL, 10);
  double* in = malloc(n * sizeof(double));
  double* out = malloc(n * sizeof(double));
  unsigned long state = 1;
  for (size_t i = 0; i < n; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    in[i] = (double)(state >> 11) * 0x1p-53;
  }
  double (*run)(double*, const double*, size_t) = !strcmp(argv[1], "sum")          ? run_sum
                                                  : !strcmp(argv[1], "exp")        ? run_exp
                                                  : !strcmp(argv[1], "polynomial") ? run_polynomial
                                                  : !strcmp(argv[1], "rounded_exp") ? run_rounded_exp
                                                                                   : run_rounded;
  double total = 0;
  for (long round = 0; round < rounds; ++round) {
    total += run(out, in, n);
    in[(size_t)round % n] *= 0.5;
  }
  printf("%.17g\n%.17g\n%.17g\n", total, out[0], out[n - 1]);
  return 0;
}

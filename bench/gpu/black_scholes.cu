// bench/programs/black_scholes.c, a thread for each option. CUDA's exp, log and erf are not glibc's, so its checksums
// are others: a sample of the prices is computed by the host as well, and how far they are apart at most is told.
// Usage: black_scholes [options] [rounds]
#include "bench/gpu/cuda_program.h"

struct Option {
  double spot, strike, years, volatility;
};

__host__ __device__ inline double Normal(double x) { return 0.5 * (1.0 + erf(x * 0.70710678118654752)); }

__host__ __device__ inline void PriceOne(double rate, double shift, const Option& o, double* call, double* put) {
  const double volatility = o.volatility + shift;
  const double spread = volatility * sqrt(o.years);
  const double d1 = (log(o.spot / o.strike) + (rate + 0.5 * volatility * volatility) * o.years) / spread;
  const double d2 = d1 - spread;
  const double discounted = o.strike * exp(-rate * o.years);
  *call += o.spot * Normal(d1) - discounted * Normal(d2);
  *put += discounted * Normal(-d2) - o.spot * Normal(-d1);
}

__global__ void Price(int n, double rate, double shift, const Option* options, double* call, double* put) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) PriceOne(rate, shift, options[i], &call[i], &put[i]);
}

int main(int argc, char** argv) {
  const int n = size_argument(argc, argv, 1, 1000000);
  const int rounds = size_argument(argc, argv, 2, 35);
  Option* options = AllocateOnHost<Option>(n);
  double* call = AllocateOnHost<double>(n);
  double* put = AllocateOnHost<double>(n);
  uint64_t seed = 1;
  for (int i = 0; i < n; i++) {
    options[i].spot = random_between(&seed, 5, 30);
    options[i].strike = random_between(&seed, 1, 100);
    options[i].years = random_between(&seed, 0.25, 10);
    options[i].volatility = random_between(&seed, 0.1, 0.6);
    call[i] = put[i] = 0.0;
  }

  Option* device_options = AllocateOnDevice<Option>(n);
  double* device_call = AllocateOnDevice<double>(n);
  double* device_put = AllocateOnDevice<double>(n);
  Parts parts;
  parts.Begin();
  Upload(device_options, options, n);
  Upload(device_call, call, n);
  Upload(device_put, put, n);
  parts.End("upload");
  const dim3 grid(BlocksFor(n, 256)), block(256);
  for (int r = 0; r < rounds; r++) {
    Price<<<grid, block>>>(n, 0.02, 0.01 * r, device_options, device_call, device_put);
    CHECK(cudaGetLastError());
  }
  parts.End("kernels");
  Download(call, device_call, n);
  Download(put, device_put, n);
  parts.End("download");

  print_checksum("call", call, n * sizeof *call);
  print_checksum("put", put, n * sizeof *put);

  double farthest = 0.0;
  const int between = n > 500 ? n / 500 : 1;
  for (int i = 0; i < n; i += between) {
    double own_call = 0.0, own_put = 0.0;
    for (int r = 0; r < rounds; r++) PriceOne(0.02, 0.01 * r, options[i], &own_call, &own_put);
    const double apart = fabs(own_call - call[i]) + fabs(own_put - put[i]);
    const double relative = apart / (own_call + own_put);
    if (!(relative <= farthest)) farthest = relative;  // also when it is no number
  }
  char more[64];
  snprintf(more, sizeof more, ", \"apart\": %.3g", isfinite(farthest) ? farthest : 1e300);
  parts.Tell(more);
}

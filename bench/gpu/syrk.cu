// bench/programs/syrk.c with 32 x 32 tiles in shared memory. Usage: syrk [n] [k]
#include "bench/gpu/cuda_program.h"

constexpr int kTile = 32;

// Zeros beyond the edges change no sum: none is a negative zero.
__global__ void Update(int n, int k, double alpha, double beta, const double* a, double* c) {
  __shared__ double rows[kTile][kTile + 1], others[kTile][kTile + 1];
  if (blockIdx.x > blockIdx.y) return;  // above the diagonal
  const int x = threadIdx.x, y = threadIdx.y;
  const int i = blockIdx.y * kTile + y, j = blockIdx.x * kTile + x, other = blockIdx.x * kTile + y;
  double sum = 0.0;
  for (int first = 0; first < k; first += kTile) {
    rows[y][x] = i < n && first + x < k ? a[static_cast<size_t>(i) * k + first + x] : 0.0;
    others[y][x] = other < n && first + x < k ? a[static_cast<size_t>(other) * k + first + x] : 0.0;
    __syncthreads();
    for (int l = 0; l < kTile; ++l) sum += rows[y][l] * others[x][l];
    __syncthreads();
  }
  if (i >= n || j > i) return;
  double* result = &c[static_cast<size_t>(i) * n + j];
  *result = beta * *result + alpha * sum;
}

int main(int argc, char** argv) {
  const int n = size_argument(argc, argv, 1, 2200);
  const int k = size_argument(argc, argv, 2, 1500);
  const size_t inputs = static_cast<size_t>(n) * k, results = static_cast<size_t>(n) * n;
  double* a = AllocateOnHost<double>(inputs);
  double* c = AllocateOnHost<double>(results);
  fill_random(a, inputs, -1, 1, 1);
  fill_random(c, results, -1, 1, 2);

  double* device_a = AllocateOnDevice<double>(inputs);
  double* device_c = AllocateOnDevice<double>(results);
  Parts parts;
  parts.Begin();
  Upload(device_a, a, inputs);
  Upload(device_c, c, results);
  parts.End("upload");
  const dim3 grid(BlocksFor(n, kTile), BlocksFor(n, kTile)), block(kTile, kTile);
  Update<<<grid, block>>>(n, k, 1.5, 0.75, device_a, device_c);
  CHECK(cudaGetLastError());
  parts.End("kernels");
  Download(c, device_c, results);
  parts.End("download");

  print_checksum("c", c, results * sizeof *c);
  parts.Tell();
}

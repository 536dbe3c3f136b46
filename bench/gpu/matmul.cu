// bench/programs/matmul.c with 32 x 32 tiles in shared memory. Usage: matmul [n]
#include "bench/gpu/cuda_program.h"

constexpr int kTile = 32;

// Zeros beyond the edges change no sum: none is a negative zero.
__global__ void Multiply(int n, const double* a, const double* b, double* c) {
  __shared__ double a_tile[kTile][kTile], b_tile[kTile][kTile];
  const int x = threadIdx.x, y = threadIdx.y;
  const int row = blockIdx.y * kTile + y, column = blockIdx.x * kTile + x;
  double sum = 0.0;
  for (int first = 0; first < n; first += kTile) {
    a_tile[y][x] = row < n && first + x < n ? a[static_cast<size_t>(row) * n + first + x] : 0.0;
    b_tile[y][x] = column < n && first + y < n ? b[static_cast<size_t>(first + y) * n + column] : 0.0;
    __syncthreads();
    for (int k = 0; k < kTile; ++k) sum += a_tile[y][k] * b_tile[k][x];
    __syncthreads();
  }
  if (row < n && column < n) c[static_cast<size_t>(row) * n + column] = sum;
}

int main(int argc, char** argv) {
  const int n = size_argument(argc, argv, 1, 1300);
  const size_t elements = static_cast<size_t>(n) * n;
  double* a = AllocateOnHost<double>(elements);
  double* b = AllocateOnHost<double>(elements);
  double* c = AllocateOnHost<double>(elements);
  fill_random(a, elements, -1, 1, 1);
  fill_random(b, elements, -1, 1, 2);

  double* device_a = AllocateOnDevice<double>(elements);
  double* device_b = AllocateOnDevice<double>(elements);
  double* device_c = AllocateOnDevice<double>(elements);
  Parts parts;
  parts.Begin();
  Upload(device_a, a, elements);
  Upload(device_b, b, elements);
  parts.End("upload");
  const dim3 grid(BlocksFor(n, kTile), BlocksFor(n, kTile)), block(kTile, kTile);
  Multiply<<<grid, block>>>(n, device_a, device_b, device_c);
  CHECK(cudaGetLastError());
  parts.End("kernels");
  Download(c, device_c, elements);
  parts.End("download");

  print_checksum("c", c, elements * sizeof *c);
  printf("middle %a\n", c[elements / 2]);
  parts.Tell();
}

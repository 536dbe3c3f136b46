// convolution2d.c, a thread for each point, its block's part of the picture in shared memory, the weights in constant
// memory. Usage: convolution2d [width] [height] [radius]
#include "bench/gpu/cuda_program.h"

constexpr int kTile = 16, kMostRadius = 15, kMostSide = 2 * kMostRadius + 1;

__constant__ double device_weights[kMostSide * kMostSide];

__global__ void Convolve(int width, int height, int radius, const double* in, double* out) {
  __shared__ double tile[kTile + 2 * kMostRadius][kTile + 2 * kMostRadius];
  const int side = 2 * radius + 1;
  const int left = blockIdx.x * kTile,
            top = blockIdx.y * kTile;  // of what the tile holds; results are `radius` further in
  for (int i = threadIdx.y; i < kTile + 2 * radius; i += kTile) {
    for (int j = threadIdx.x; j < kTile + 2 * radius; j += kTile) {
      if (top + i < height && left + j < width) tile[i][j] = in[static_cast<size_t>(top + i) * width + left + j];
    }
  }
  __syncthreads();
  const int x = left + radius + threadIdx.x, y = top + radius + threadIdx.y;
  if (x >= width - radius || y >= height - radius) return;
  double sum = 0.0;
  for (int i = 0; i < side; i++)
    for (int j = 0; j < side; j++) sum += device_weights[i * side + j] * tile[threadIdx.y + i][threadIdx.x + j];
  out[static_cast<size_t>(y) * width + x] = sum;
}

int main(int argc, char** argv) {
  const int width = size_argument(argc, argv, 1, 2000);
  const int height = size_argument(argc, argv, 2, 1500);
  const int radius = size_argument(argc, argv, 3, 10);
  if (radius > kMostRadius) {
    fprintf(stderr, "%s: the radius is at most %d\n", argv[0], kMostRadius);
    return 2;
  }
  const int side = 2 * radius + 1;
  const size_t points = static_cast<size_t>(width) * height;
  double* in = AllocateOnHost<double>(points);
  double* out = AllocateOnHost<double>(points);
  double* weights = AllocateOnHost<double>(side * side);
  fill_random(in, points, 0, 1, 1);
  fill_random(weights, side * side, -1, 1, 2);
  memcpy(out, in, points * sizeof *out);

  double* device_in = AllocateOnDevice<double>(points);
  double* device_out = AllocateOnDevice<double>(points);
  Parts parts;
  parts.Begin();
  Upload(device_in, in, points);
  Upload(device_out, out, points);
  CHECK(cudaMemcpyToSymbol(device_weights, weights, side * side * sizeof *weights));
  parts.End("upload");
  const dim3 grid(BlocksFor(width - 2 * radius, kTile), BlocksFor(height - 2 * radius, kTile)), block(kTile, kTile);
  Convolve<<<grid, block>>>(width, height, radius, device_in, device_out);
  CHECK(cudaGetLastError());
  parts.End("kernels");
  Download(out, device_out, points);
  parts.End("download");

  print_checksum("picture", out, points * sizeof *out);
  parts.Tell();
}

// bench/programs/mandelbrot.c, a thread for each point. Usage: mandelbrot [size] [most iterations]
#include "bench/gpu/cuda_program.h"

__global__ void Draw(int size, int most, int* counts) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
  if (row >= size || column >= size) return;
  const double cx = -2.0 + 3.0 * column / size, cy = -1.5 + 3.0 * row / size;
  double x = 0.0, y = 0.0;
  int count = 0;
  while (count < most && x * x + y * y < 4.0) {
    const double next = x * x - y * y + cx;
    y = 2.0 * x * y + cy;
    x = next;
    count++;
  }
  counts[static_cast<size_t>(row) * size + column] = count;
}

int main(int argc, char** argv) {
  const int size = size_argument(argc, argv, 1, 1600);
  const int most = size_argument(argc, argv, 2, 2000);
  const size_t points = static_cast<size_t>(size) * size;
  int* counts = AllocateOnHost<int>(points);

  int* device = AllocateOnDevice<int>(points);
  Parts parts;
  parts.Begin();
  const dim3 block(32, 4), grid(BlocksFor(size, 32), BlocksFor(size, 4));
  Draw<<<grid, block>>>(size, most, device);
  CHECK(cudaGetLastError());
  parts.End("kernels");
  Download(counts, device, points);
  parts.End("download");

  print_checksum("counts", counts, points * sizeof *counts);
  parts.Tell();
}

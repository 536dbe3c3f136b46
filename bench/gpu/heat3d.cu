// heat3d.c, a thread for each point, all steps on the device. Usage: heat3d [n] [pairs of steps] [FILE for all bytes]
#include "bench/gpu/cuda_program.h"

__global__ void Step(int n, const double* from, double* to) {
  const int k = blockIdx.x * blockDim.x + threadIdx.x + 1, j = blockIdx.y * blockDim.y + threadIdx.y + 1,
            i = blockIdx.z + 1;
  if (k >= n - 1 || j >= n - 1) return;
  const size_t layer = static_cast<size_t>(n) * n, at = i * layer + static_cast<size_t>(j) * n + k;
  to[at] = 0.125 * (from[at + layer] - 2.0 * from[at] + from[at - layer]) +
           0.125 * (from[at + n] - 2.0 * from[at] + from[at - n]) +
           0.125 * (from[at + 1] - 2.0 * from[at] + from[at - 1]) + from[at];
}

int main(int argc, char** argv) {
  const int n = size_argument(argc, argv, 1, 256);
  const int pairs = size_argument(argc, argv, 2, 10);
  const size_t layer = static_cast<size_t>(n) * n, points = layer * n;
  double* a = AllocateOnHost<double>(points);
  double* b = AllocateOnHost<double>(points);
  double* start = AllocateOnHost<double>(layer);
  fill_random(start, layer, 0, 100, 1);
  for (int i = 0; i < n; i++) {
    const double warmth = 1.0 - static_cast<double>(i) / n;
    for (size_t p = 0; p < layer; p++) a[i * layer + p] = b[i * layer + p] = warmth * start[p];
  }

  double* device_a = AllocateOnDevice<double>(points);
  double* device_b = AllocateOnDevice<double>(points);
  Parts parts;
  parts.Begin();
  Upload(device_a, a, points);
  Upload(device_b, b, points);
  parts.End("upload");
  const dim3 block(64, 4), grid(BlocksFor(n - 2, 64), BlocksFor(n - 2, 4), n - 2);
  for (int s = 0; s < pairs; s++) {
    Step<<<grid, block>>>(n, device_a, device_b);
    CHECK(cudaGetLastError());
    Step<<<grid, block>>>(n, device_b, device_a);
    CHECK(cudaGetLastError());
  }
  parts.End("kernels");
  Download(a, device_a, points);
  parts.End("download");

  print_sample("heat", a, points * sizeof *a);
  printf("middle %a\n", a[points / 2 + layer / 2 + n / 2]);
  write_all(argc, argv, 3, a, points * sizeof *a);
  parts.Tell();
}

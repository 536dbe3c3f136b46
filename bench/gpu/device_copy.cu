// What this device's memory and its link can do, as JSON: copies on the device (bytes read plus bytes written, by the
// driver and by a plain kernel) and over the link, from and to memory of malloc and page-locked memory. Medians of
// several. Usage: device_copy [MiB]
#include <algorithm>

#include "bench/gpu/cuda_program.h"

constexpr int kRuns = 11;

__global__ void Copy(size_t n, const double* from, double* to) {
  const size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) to[i] = from[i];
}

// GB per second of `copy`, which moves `bytes`. The first run does not count.
template <typename Function>
double Speed(double bytes, Function copy) {
  cudaEvent_t begin, end;
  CHECK(cudaEventCreate(&begin));
  CHECK(cudaEventCreate(&end));
  float ms[kRuns];
  for (int run = -1; run < kRuns; ++run) {
    CHECK(cudaEventRecord(begin));
    copy();
    CHECK(cudaEventRecord(end));
    CHECK(cudaEventSynchronize(end));
    CHECK(cudaEventElapsedTime(&ms[run < 0 ? 0 : run], begin, end));
  }
  std::sort(ms, ms + kRuns);
  return bytes / (ms[kRuns / 2] * 1e6);
}

int main(int argc, char** argv) {
  const size_t bytes = static_cast<size_t>(size_argument(argc, argv, 1, 1024)) << 20, n = bytes / sizeof(double);
  double* from = AllocateOnDevice<double>(n);
  double* to = AllocateOnDevice<double>(n);
  double* host = AllocateOnHost<double>(n);
  for (size_t i = 0; i < n; i++) host[i] = 1e-6 * static_cast<double>(i);
  void* locked = nullptr;
  CHECK(cudaMallocHost(&locked, bytes));
  memcpy(locked, host, bytes);
  Upload(from, host, n);
  const auto copy = [&](void* target, const void* source, cudaMemcpyKind kind) {
    return Speed(kind == cudaMemcpyDeviceToDevice ? 2.0 * bytes : 1.0 * bytes,
                 [=] { CHECK(cudaMemcpyAsync(target, source, bytes, kind)); });
  };
  const double by_driver = copy(to, from, cudaMemcpyDeviceToDevice);
  const dim3 grid(BlocksFor(n, 256)), block(256);
  const double by_kernel = Speed(2.0 * bytes, [&] {
    Copy<<<grid, block>>>(n, from, to);
    CHECK(cudaGetLastError());
  });
  const double up = copy(from, host, cudaMemcpyHostToDevice), up_locked = copy(from, locked, cudaMemcpyHostToDevice);
  const double down = copy(host, to, cudaMemcpyDeviceToHost), down_locked = copy(locked, to, cudaMemcpyDeviceToHost);
  CHECK(cudaDeviceSynchronize());
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, 0));
  printf(
      "{\"name\": \"%s\", \"multiprocessors\": %d, \"memory_mib\": %zu, \"copied_mib\": %zu, \"device_copy_GBs\": "
      "%.1f, "
      "\"device_copy_by_kernel_GBs\": %.1f, \"upload_GBs\": %.2f, \"upload_locked_GBs\": %.2f, \"download_GBs\": %.2f, "
      "\"download_locked_GBs\": %.2f}\n",
      properties.name, properties.multiProcessorCount, properties.totalGlobalMem >> 20, bytes >> 20, by_driver,
      by_kernel, up, up_locked, down, down_locked);
}

// streams.c, a thread for each number. Usage: streams scale|triad|saxpy [elements] [rounds] [FILE for all bytes]
#include "bench/gpu/cuda_program.h"

__global__ void Scale(size_t n, double factor, const double* from, double* to) {
  const size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) to[i] = factor * from[i];
}

__global__ void Triad(size_t n, double factor, const double* b, const double* c, double* a) {
  const size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) a[i] = b[i] + factor * c[i];
}

__global__ void Saxpy(size_t n, float factor, const float* x, float* y) {
  const size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = factor * x[i] + y[i];
}

constexpr unsigned kBlock = 256;

template <typename T>
struct Array {
  T* host;
  T* device;
  Array(size_t n, T first, T step) : host(AllocateOnHost<T>(n)), device(AllocateOnDevice<T>(n)) {
    for (size_t i = 0; i < n; i++) host[i] = first + step * static_cast<T>(i);
  }
};

int main(int argc, char** argv) {
  const char* kind = argc > 1 ? argv[1] : "triad";
  const size_t n = size_argument(argc, argv, 2, 20000000);
  const int rounds = size_argument(argc, argv, 3, 20);
  const dim3 grid(BlocksFor(n, kBlock)), block(kBlock);
  void* result = nullptr;
  size_t bytes = n * sizeof(double);
  Parts parts;
  if (strcmp(kind, "scale") == 0) {
    Array<double> from(n, 1.0, 1e-6), to(n, 0.0, 1e-6);
    parts.Begin();
    Upload(from.device, from.host, n);
    parts.End("upload");
    for (int r = 0; r < rounds; r++) {
      Scale<<<grid, block>>>(n, 1.0 / (r + 3), from.device, to.device);
      CHECK(cudaGetLastError());
    }
    parts.End("kernels");
    Download(to.host, to.device, n);
    result = to.host;
  } else if (strcmp(kind, "triad") == 0) {
    Array<double> b(n, 1.0, 1e-6), c(n, 2.0, 1e-6), a(n, 0.0, 1e-6);
    parts.Begin();
    Upload(b.device, b.host, n);
    Upload(c.device, c.host, n);
    parts.End("upload");
    for (int r = 0; r < rounds; r++) {
      Triad<<<grid, block>>>(n, 1.0 / (r + 3), b.device, c.device, a.device);
      CHECK(cudaGetLastError());
    }
    parts.End("kernels");
    Download(a.host, a.device, n);
    result = a.host;
  } else if (strcmp(kind, "saxpy") == 0) {
    Array<float> x(n, 1.0f, 1e-6f), y(n, 0.0f, 1e-6f);
    parts.Begin();
    Upload(x.device, x.host, n);
    Upload(y.device, y.host, n);
    parts.End("upload");
    for (int r = 0; r < rounds; r++) {
      Saxpy<<<grid, block>>>(n, 1.0f / static_cast<float>(r + 3), x.device, y.device);
      CHECK(cudaGetLastError());
    }
    parts.End("kernels");
    Download(y.host, y.device, n);
    result = y.host;
    bytes = n * sizeof(float);
  } else {
    fprintf(stderr, "%s: no stream is called %s\n", argv[0], kind);
    return 2;
  }
  parts.End("download");
  print_sample(kind, result, bytes);
  write_all(argc, argv, 4, result, bytes);
  parts.Tell();
}

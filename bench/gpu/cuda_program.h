// What the hand-written CUDA programs share. They do what their C programs do: the same arguments, inputs and printed
// lines, one process, memory from malloc, one stream. Compiled with -fmad=false, as gcc -O2 for x86-64 has no fused
// operations either.
#ifndef CUDA_PROGRAM_H
#define CUDA_PROGRAM_H

#ifdef CUDA_ON_CPU
#include "bench/gpu/cuda_on_cpu.h"
#else
#include <cuda_runtime.h>
#endif

#include <math.h>

#include "bench/gpu/sample.h"

#define CHECK(call)                                                                              \
  do {                                                                                           \
    cudaError_t error_ = (call);                                                                 \
    if (error_ != cudaSuccess) {                                                                 \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_)); \
      exit(3);                                                                                   \
    }                                                                                            \
  } while (0)

template <typename T>
T* AllocateOnHost(size_t count) {
  return static_cast<T*>(allocate(count, sizeof(T)));
}

template <typename T>
T* AllocateOnDevice(size_t count) {
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, count * sizeof(T)));
  return static_cast<T*>(memory);
}

template <typename T>
void Upload(T* device, const T* host, size_t count) {
  CHECK(cudaMemcpy(device, host, count * sizeof(T), cudaMemcpyHostToDevice));
}

template <typename T>
void Download(T* host, const T* device, size_t count) {
  CHECK(cudaMemcpy(host, device, count * sizeof(T), cudaMemcpyDeviceToHost));
}

inline unsigned BlocksFor(size_t count, size_t of_each) {
  return static_cast<unsigned>((count + of_each - 1) / of_each);
}

// What the parts of the program take by the device's clock: Begin, then End after each part, then Tell. Written as JSON
// into the file that GPU_SPEED_TIMES names, else to standard error: what is printed stays that of the C program.
class Parts {
 public:
  void Begin() { Mark(); }
  void End(const char* part) {
    names_[count_ - 1] = part;
    Mark();
  }
  // Further values, as `, "name": 1`.
  void Tell(const char* more = "") {
    CHECK(cudaEventSynchronize(marks_[count_ - 1]));
    const char* path = getenv("GPU_SPEED_TIMES");
    FILE* file = path ? fopen(path, "w") : stderr;
    if (!file) exit(2);
    fprintf(file, "{");
    for (int i = 0; i + 1 < count_; ++i) {
      float ms = 0;
      CHECK(cudaEventElapsedTime(&ms, marks_[i], marks_[i + 1]));
      fprintf(file, "%s\"%s_ms\": %.4f", i > 0 ? ", " : "", names_[i], ms);
    }
    fprintf(file, "%s}\n", more);
    if (path) fclose(file);
  }

 private:
  static constexpr int kMost = 16;
  void Mark() {
    CHECK(cudaEventCreate(&marks_[count_]));
    CHECK(cudaEventRecord(marks_[count_]));
    ++count_;
  }
  cudaEvent_t marks_[kMost];
  const char* names_[kMost];
  int count_ = 0;
};

#endif

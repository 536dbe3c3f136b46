// As much of CUDA's runtime as the programs here use, on the CPU: shows that they print the right bytes where there is
// no GPU, and says nothing of speed. Blocks run one after the other; the threads of a block take turns, each until it
// waits for the others or ends. bench/gpu_builds.py makes Launch(grid, block, [&] { Kernel(arguments); }) of
// Kernel<<<grid, block>>>(arguments).
#ifndef CUDA_ON_CPU_H
#define CUDA_ON_CPU_H

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __global__ static
#define __host__
#define __device__
#define __constant__ static
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace on_cpu {

constexpr size_t kStackBytes = 64 << 10;
struct Thread {
  ucontext_t start;
  jmp_buf place;  // where it waits: going there takes no system call, as setting a context does
  dim3 index;
  bool begun, ended;
};
inline std::vector<Thread> threads;
inline std::vector<char> stacks;
inline jmp_buf scheduler;
inline Thread* running;
inline std::function<void()> kernel;

inline void Enter() {
  kernel();
  running->ended = true;
  _longjmp(scheduler, 1);
}

inline void Prepare(Thread& thread, char* stack, dim3 index) {
  thread.index = index;
  thread.begun = thread.ended = false;
  getcontext(&thread.start);
  thread.start.uc_stack.ss_sp = stack;
  thread.start.uc_stack.ss_size = kStackBytes;
  makecontext(&thread.start, Enter, 0);
}

// Until it waits for the others or ends.
inline bool Continue(Thread& thread) {
  running = &thread;
  threadIdx = thread.index;
  if (_setjmp(scheduler) == 0) {
    if (thread.begun) _longjmp(thread.place, 1);
    thread.begun = true;
    setcontext(&thread.start);
  }
  running = nullptr;
  return !thread.ended;
}

template <typename Function>
void ForEach(dim3 extent, Function function) {
  for (unsigned z = 0; z < extent.z; ++z)
    for (unsigned y = 0; y < extent.y; ++y)
      for (unsigned x = 0; x < extent.x; ++x) function(dim3(x, y, z));
}

// Where the first thread never waits, none may: then they need no stacks of their own, which is faster.
template <typename Kernel>
void RunBlock(const Kernel& direct) {
  size_t next = 0;
  bool any = false;
  ForEach(blockDim, [&](dim3 index) {
    if (next == 0 || any) {
      Prepare(threads[next], &stacks[next * kStackBytes], index);
      any = Continue(threads[next++]) || any;
    } else {
      threadIdx = index;
      direct();
    }
  });
  while (any) {
    any = false;
    for (Thread& thread : threads) any = (!thread.ended && Continue(thread)) || any;
  }
}

}  // namespace on_cpu

inline void __syncthreads() {
  on_cpu::Thread* self = on_cpu::running;
  if (!self) abort();  // the first thread of the block did not wait
  if (_setjmp(self->place) == 0) _longjmp(on_cpu::scheduler, 1);
}

template <typename Kernel>
void Launch(dim3 grid, dim3 block, const Kernel& kernel) {
  gridDim = grid;
  blockDim = block;
  const size_t count = static_cast<size_t>(block.x) * block.y * block.z;
  on_cpu::threads.resize(count);
  on_cpu::stacks.resize(count * on_cpu::kStackBytes);
  on_cpu::kernel = kernel;
  on_cpu::ForEach(grid, [&](dim3 index) {
    blockIdx = index;
    on_cpu::RunBlock(kernel);
  });
}

enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
using cudaEvent_t = timespec*;
struct cudaDeviceProp {
  const char* name;
  int multiProcessorCount;
  size_t totalGlobalMem;
};

inline const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "success" : "out of memory"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = malloc(bytes);
  if (*memory) memset(*memory, 0xa5, bytes);  // nobody may rely on what is there
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaMallocHost(void** memory, size_t bytes) { return cudaMalloc(memory, bytes); }
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpy(to, from, bytes, kind);
}
template <typename T>
cudaError_t cudaMemcpyToSymbol(T& symbol, const void* from, size_t bytes) {
  memcpy(&symbol, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new timespec{};
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event) {
  clock_gettime(CLOCK_MONOTONIC, event);
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  *ms = static_cast<float>(static_cast<double>(end->tv_sec - begin->tv_sec) * 1e3 +
                           static_cast<double>(end->tv_nsec - begin->tv_nsec) / 1e6);
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"CPU", 1, 0};
  return cudaSuccess;
}

#endif

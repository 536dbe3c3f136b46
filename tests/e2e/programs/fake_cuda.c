// Stands in for NVIDIA's driver (libcuda.so.1) where there is none: keeps memory and checks arguments, but runs no kernel. What it does
// instead FAKE_CUDA says: no-device, no-memory, bad-ptx, fail (launches fail), hang, or idle (launches succeed, having done nothing).
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kGood = 0, kInvalid = 1, kOutOfMemory = 2, kNoDevice = 100, kInvalidPtx = 218, kLaunchFailed = 719 };

static int acts(const char *what) {
  const char *wanted = getenv("FAKE_CUDA");
  return wanted && strcmp(wanted, what) == 0;
}

int cuInit(unsigned flags) { return flags != 0 ? kInvalid : acts("no-device") ? kNoDevice : kGood; }
int cuDeviceGetCount(int *count) { return *count = 1, kGood; }
int cuDeviceGet(int *device, int ordinal) { return *device = 7, ordinal == 0 ? kGood : kInvalid; }
int cuDeviceGetName(char *name, int size, int device) { return strncpy(name, "Fake GPU", (size_t)size), device == 7 ? kGood : kInvalid; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = (size_t)8 << 30, device == 7 ? kGood : kInvalid; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { return *value = attribute == 75 ? 9 : 0, device == 7 ? kGood : kInvalid; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)0x10, device == 7 ? kGood : kInvalid; }
int cuCtxSetCurrent(void *context) { return context == (void *)0x10 ? kGood : kInvalid; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { return *free_bytes = *total = (size_t)8 << 30, kGood; }
int cuMemAlloc_v2(unsigned long long *address, size_t bytes) {
  static int allocations = 0;
  if (acts("no-memory") && ++allocations > 1) return kOutOfMemory;
  *address = (unsigned long long)(uintptr_t)aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return *address ? kGood : kOutOfMemory;
}
int cuMemFree_v2(unsigned long long address) { return free((void *)(uintptr_t)address), kGood; }
int cuMemHostRegister_v2(void *memory, size_t bytes, unsigned flags) {
  (void)bytes;
  return (uintptr_t)memory % 4096 == 0 && flags == 0 ? kGood : kInvalid;
}
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t bytes, void *stream) {
  return memcpy((void *)(uintptr_t)to, from, bytes), stream == (void *)0x20 ? kGood : kInvalid;
}
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t bytes, void *stream) {
  return memcpy(to, (const void *)(uintptr_t)from, bytes), stream == (void *)0x20 ? kGood : kInvalid;
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t bytes, void *stream) {
  return memcpy((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes), stream == (void *)0x20 ? kGood : kInvalid;
}
int cuStreamCreate(void **stream, unsigned flags) { return *stream = (void *)0x20, flags == 1 ? kGood : kInvalid; }
int cuStreamSynchronize(void *stream) { return stream == (void *)0x20 ? kGood : kInvalid; }
int cuModuleLoadDataEx(void **module, const void *image, unsigned options, int *names, void **values) {
  (void)names, (void)values;
  const int is_ptx = strstr(image, ".visible .entry tl_kernel(") != NULL && options == 0;
  return *module = (void *)0x30, is_ptx && !acts("bad-ptx") ? kGood : kInvalidPtx;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  return *function = (void *)0x40, module == (void *)0x30 && strcmp(name, "tl_kernel") == 0 ? kGood : kInvalid;
}
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream,
                   void **parameters, void **extra) {
  if (acts("fail")) return kLaunchFailed;
  while (acts("hang")) sleep(1);
  const int fits = gx > 0 && gy == 1 && gz == 1 && bx == 256 && by == 1 && bz == 1 && shared == 0 && parameters && !extra;
  return fits && function == (void *)0x40 && stream == (void *)0x20 ? kGood : kInvalid;
}
int cuGetErrorString(int error, const char **text) {
  *text = error == kLaunchFailed ? "unspecified launch failure" : error == kOutOfMemory ? "out of memory" : error == kNoDevice ? "no CUDA-capable device is detected"
          : error == kInvalidPtx ? "a PTX JIT compilation failed" : "invalid argument";
  return kGood;
}

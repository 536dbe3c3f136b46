// NVIDIA's driver interface, as far as it is used, opened at run time: nothing of CUDA is needed to build, and only a driver to run.
// Names and meanings as in the CUDA Driver API reference; the versions are those of CUDA 11 and later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace tracelift::offload {

using CuResult = int;  // 0: success
using CuDevice = int;
using CuAddress = unsigned long long;
struct CuContext;
struct CuModule;
struct CuFunction;
struct CuStream;
struct CuEvent;
struct CuLinker;

inline constexpr CuResult kCuOutOfMemory = 2;             // CUDA_ERROR_OUT_OF_MEMORY
inline constexpr CuResult kCuNotReady = 600;              // CUDA_ERROR_NOT_READY
inline constexpr int kCuComputeCapabilityMajor = 75;      // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
inline constexpr int kCuComputeCapabilityMinor = 76;
inline constexpr unsigned kCuStreamNonBlocking = 1;
inline constexpr unsigned kCuEventDisableTiming = 2;
inline constexpr int kCuInputPtx = 1;  // CU_JIT_INPUT_PTX

/// A GPU that CUDA may use (CUDA_VISIBLE_DEVICES).
struct Gpu {
  CuDevice device = 0;
  std::string name;
  std::string uuid, pci_bus_id;  // as NVML writes them
  uint64_t memory_bytes = 0;
  int major = 0, minor = 0;  // compute capability
};

struct CudaDriver {
  CuResult (*Init)(unsigned flags);
  CuResult (*DriverGetVersion)(int* version);  // of CUDA, 1000 * major + 10 * minor
  CuResult (*DeviceGetCount)(int* count);
  CuResult (*DeviceGet)(CuDevice* device, int ordinal);
  CuResult (*DeviceGetName)(char* name, int size, CuDevice device);
  CuResult (*DeviceTotalMem)(size_t* bytes, CuDevice device);
  CuResult (*DeviceGetAttribute)(int* value, int attribute, CuDevice device);
  CuResult (*DeviceGetUuid)(uint8_t* uuid, CuDevice device);  // 16 bytes
  CuResult (*DeviceGetPciBusId)(char* id, int size, CuDevice device);
  CuResult (*DevicePrimaryCtxRetain)(CuContext** context, CuDevice device);
  CuResult (*CtxSetCurrent)(CuContext* context);
  CuResult (*MemGetInfo)(size_t* free, size_t* total);
  CuResult (*MemAlloc)(CuAddress* address, size_t bytes);
  CuResult (*MemFree)(CuAddress address);
  CuResult (*MemHostRegister)(void* memory, size_t bytes, unsigned flags);
  CuResult (*MemcpyHtoDAsync)(CuAddress to, const void* from, size_t bytes, CuStream* stream);
  CuResult (*MemcpyDtoHAsync)(void* to, CuAddress from, size_t bytes, CuStream* stream);
  CuResult (*MemcpyDtoDAsync)(CuAddress to, CuAddress from, size_t bytes, CuStream* stream);
  CuResult (*StreamCreate)(CuStream** stream, unsigned flags);
  CuResult (*StreamWaitEvent)(CuStream* stream, CuEvent* event, unsigned flags);
  CuResult (*EventCreate)(CuEvent** event, unsigned flags);
  CuResult (*EventRecord)(CuEvent* event, CuStream* stream);
  CuResult (*EventQuery)(CuEvent* event);
  CuResult (*EventSynchronize)(CuEvent* event);
  CuResult (*ModuleLoadDataEx)(CuModule** module, const void* image, unsigned options, int* names, void** values);
  CuResult (*LinkCreate)(unsigned options, int* names, void** values, CuLinker** linker);
  CuResult (*LinkAddData)(CuLinker* linker, int type, void* data, size_t bytes, const char* name, unsigned options, int* names, void** values);
  CuResult (*LinkComplete)(CuLinker* linker, void** cubin, size_t* bytes);  // the linker's, and gone with it
  CuResult (*LinkDestroy)(CuLinker* linker);
  CuResult (*ModuleUnload)(CuModule* module);
  CuResult (*ModuleGetFunction)(CuFunction** function, CuModule* module, const char* name);
  CuResult (*LaunchKernel)(CuFunction* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                           unsigned block_z, unsigned shared_bytes, CuStream* stream, void** parameters, void** extra);
  CuResult (*GetErrorString)(CuResult error, const char** text);

  /// Opens libcuda.so.1; the error says what is missing.
  static std::expected<CudaDriver, std::string> Open();
  /// In CUDA's order, at least one; the error says why there is none.
  std::expected<std::vector<Gpu>, std::string> Gpus() const;
  /// In words.
  std::string Describe(CuResult error) const;
};

}  // namespace tracelift::offload

#include "offload/gpu/cuda_driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace tracelift::offload {

std::expected<CudaDriver, std::string> CudaDriver::Open() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return std::unexpected("there is no CUDA driver (libcuda.so.1)");
  CudaDriver driver{};
  const char* missing = nullptr;
  const auto find = [&]<typename F>(F** function, const char* name) {
    *function = reinterpret_cast<F*>(dlsym(library, name));
    if (!*function) missing = name;
  };
  find(&driver.Init, "cuInit");
  find(&driver.DriverGetVersion, "cuDriverGetVersion");
  find(&driver.DeviceGetCount, "cuDeviceGetCount");
  find(&driver.DeviceGet, "cuDeviceGet");
  find(&driver.DeviceGetName, "cuDeviceGetName");
  find(&driver.DeviceTotalMem, "cuDeviceTotalMem_v2");
  find(&driver.DeviceGetAttribute, "cuDeviceGetAttribute");
  find(&driver.DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");
  find(&driver.CtxSetCurrent, "cuCtxSetCurrent");
  find(&driver.MemGetInfo, "cuMemGetInfo_v2");
  find(&driver.MemAlloc, "cuMemAlloc_v2");
  find(&driver.MemFree, "cuMemFree_v2");
  find(&driver.MemHostRegister, "cuMemHostRegister_v2");
  find(&driver.MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2");
  find(&driver.MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2");
  find(&driver.MemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2");
  find(&driver.StreamCreate, "cuStreamCreate");
  find(&driver.StreamWaitEvent, "cuStreamWaitEvent");
  find(&driver.EventCreate, "cuEventCreate");
  find(&driver.EventRecord, "cuEventRecord");
  find(&driver.EventQuery, "cuEventQuery");
  find(&driver.EventSynchronize, "cuEventSynchronize");
  find(&driver.ModuleLoadDataEx, "cuModuleLoadDataEx");
  find(&driver.LinkCreate, "cuLinkCreate_v2");
  find(&driver.LinkAddData, "cuLinkAddData_v2");
  find(&driver.LinkComplete, "cuLinkComplete");
  find(&driver.LinkDestroy, "cuLinkDestroy");
  find(&driver.ModuleUnload, "cuModuleUnload");
  find(&driver.ModuleGetFunction, "cuModuleGetFunction");
  find(&driver.LaunchKernel, "cuLaunchKernel");
  find(&driver.GetErrorString, "cuGetErrorString");
  if (missing) return std::unexpected(fmt::format("the CUDA driver has no {}: it is older than CUDA 11", missing));
  return driver;
}

std::string CudaDriver::Describe(CuResult error) const {
  const char* text = nullptr;
  if (GetErrorString(error, &text) != 0 || !text) return fmt::format("CUDA error {}", error);
  return fmt::format("{} (CUDA error {})", text, error);
}

}  // namespace tracelift::offload

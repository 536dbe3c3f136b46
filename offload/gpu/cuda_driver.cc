#include "offload/gpu/cuda_driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <span>

namespace tracelift::offload {
namespace {

constexpr size_t kUuidBytes = 16;

std::string UuidText(std::span<const uint8_t, kUuidBytes> uuid) {
  std::string text = "GPU";
  for (size_t i = 0; i < kUuidBytes; ++i) {
    const bool begins_group = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;
    text += fmt::format("{}{:02x}", begins_group ? "-" : "", uuid[i]);
  }
  return text;
}

}  // namespace

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
  find(&driver.DeviceGetUuid, "cuDeviceGetUuid");
  find(&driver.DeviceGetPciBusId, "cuDeviceGetPCIBusId");
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

std::expected<std::vector<Gpu>, std::string> CudaDriver::Gpus() const {
  int count = 0;
  if (const CuResult error = Init(0)) return std::unexpected(Describe(error));
  if (DeviceGetCount(&count) != 0 || count == 0) return std::unexpected("there is no CUDA device");
  std::vector<Gpu> gpus;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    Gpu gpu;
    if (const CuResult error = DeviceGet(&gpu.device, ordinal)) return std::unexpected(Describe(error));
    std::array<char, 128> name{};
    std::array<char, 32> bus_id{};
    std::array<uint8_t, kUuidBytes> uuid{};
    (void)DeviceGetName(name.data(), static_cast<int>(name.size()), gpu.device);
    (void)DeviceGetPciBusId(bus_id.data(), static_cast<int>(bus_id.size()), gpu.device);
    (void)DeviceGetUuid(uuid.data(), gpu.device);
    (void)DeviceTotalMem(&gpu.memory_bytes, gpu.device);
    (void)DeviceGetAttribute(&gpu.major, kCuComputeCapabilityMajor, gpu.device);
    (void)DeviceGetAttribute(&gpu.minor, kCuComputeCapabilityMinor, gpu.device);
    gpu.name = name.data();
    gpu.pci_bus_id = bus_id.data();
    gpu.uuid = UuidText(uuid);
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

std::string CudaDriver::Describe(CuResult error) const {
  const char* text = nullptr;
  if (GetErrorString(error, &text) != 0 || !text) return fmt::format("CUDA error {}", error);
  return fmt::format("{} (CUDA error {})", text, error);
}

}  // namespace tracelift::offload

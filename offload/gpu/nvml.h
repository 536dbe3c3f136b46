// NVIDIA's management library, as far as it is used: what GPUs are busy with, other people's work included. Opened at run time, and not
// needed. Names and meanings as in the NVML API reference.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "offload/gpu/cuda_driver.h"

namespace tracelift::offload {

/// A GPU at this moment; nullopt: it does not tell.
struct GpuLoad {
  std::optional<unsigned> busy_percent;  // of the time just past
  std::optional<uint64_t> memory_bytes, used_bytes;
  std::optional<unsigned> pcie_generation, pcie_lanes;
  std::optional<double> power_w;
};

/// Thread rule: any thread.
class Nvml {
 public:
  /// Opens libnvidia-ml.so.1; the error says what is missing.
  static std::expected<Nvml, std::string> Open();

  /// Of all GPUs, those that CUDA may not use included.
  std::vector<std::string> Names() const;
  /// All nullopt when it does not know the GPU.
  GpuLoad LoadOf(const Gpu& gpu) const;

 private:
  using Result = int;  // 0: success
  struct Device;
  struct Memory {
    unsigned long long total, free, used;
  };
  struct Utilization {
    unsigned gpu, memory;  // percent
  };

  Device* Find(const Gpu& gpu) const;

  Result (*Init)();
  const char* (*ErrorString)(Result result);
  Result (*DeviceGetCount)(unsigned* count);
  Result (*DeviceGetHandleByIndex)(unsigned index, Device** device);
  Result (*DeviceGetHandleByUuid)(const char* uuid, Device** device);
  Result (*DeviceGetHandleByPciBusId)(const char* bus_id, Device** device);
  Result (*DeviceGetName)(Device* device, char* name, unsigned size);
  Result (*DeviceGetMemoryInfo)(Device* device, Memory* memory);
  Result (*DeviceGetUtilizationRates)(Device* device, Utilization* utilization);
  Result (*DeviceGetCurrPcieLinkGeneration)(Device* device, unsigned* generation);
  Result (*DeviceGetCurrPcieLinkWidth)(Device* device, unsigned* lanes);
  Result (*DeviceGetPowerUsage)(Device* device, unsigned* milliwatts);
};

/// The GPU that does least, and of these, that has most memory free; the first of several. One that does not tell counts as busy and full.
/// There is one at least.
const Gpu& LeastBusy(std::span<const Gpu> gpus, const Nvml& nvml);

}  // namespace tracelift::offload

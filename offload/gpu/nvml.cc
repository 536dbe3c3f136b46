#include "offload/gpu/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace tracelift::offload {

constexpr unsigned kFullyBusy = 100;
constexpr size_t kNameBytes = 96;  // NVML_DEVICE_NAME_V2_BUFFER_SIZE

std::expected<Nvml, std::string> Nvml::Open() {
  void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return std::unexpected("there is no libnvidia-ml.so.1");
  Nvml nvml{};
  const char* missing = nullptr;
  const auto find = [&]<typename F>(F** function, const char* name) {
    *function = reinterpret_cast<F*>(dlsym(library, name));
    if (!*function) missing = name;
  };
  find(&nvml.Init, "nvmlInit_v2");
  find(&nvml.ErrorString, "nvmlErrorString");
  find(&nvml.DeviceGetCount, "nvmlDeviceGetCount_v2");
  find(&nvml.DeviceGetHandleByIndex, "nvmlDeviceGetHandleByIndex_v2");
  find(&nvml.DeviceGetHandleByUuid, "nvmlDeviceGetHandleByUUID");
  find(&nvml.DeviceGetHandleByPciBusId, "nvmlDeviceGetHandleByPciBusId_v2");
  find(&nvml.DeviceGetName, "nvmlDeviceGetName");
  find(&nvml.DeviceGetMemoryInfo, "nvmlDeviceGetMemoryInfo");
  find(&nvml.DeviceGetUtilizationRates, "nvmlDeviceGetUtilizationRates");
  find(&nvml.DeviceGetCurrPcieLinkGeneration, "nvmlDeviceGetCurrPcieLinkGeneration");
  find(&nvml.DeviceGetCurrPcieLinkWidth, "nvmlDeviceGetCurrPcieLinkWidth");
  find(&nvml.DeviceGetPowerUsage, "nvmlDeviceGetPowerUsage");
  if (missing) return std::unexpected(fmt::format("libnvidia-ml.so.1 has no {}", missing));
  if (const Result error = nvml.Init()) return std::unexpected(fmt::format("libnvidia-ml.so.1: {}", nvml.ErrorString(error)));
  return nvml;
}

std::vector<std::string> Nvml::Names() const {
  std::vector<std::string> names;
  unsigned count = 0;
  if (DeviceGetCount(&count) != 0) return names;
  for (unsigned i = 0; i < count; ++i) {
    Device* device = nullptr;
    std::array<char, kNameBytes> name{};
    if (DeviceGetHandleByIndex(i, &device) == 0 && DeviceGetName(device, name.data(), name.size()) == 0) names.emplace_back(name.data());
  }
  return names;
}

// It numbers GPUs otherwise than CUDA. A part of a GPU has the UUID of the whole one here (cuDeviceGetUuid).
Nvml::Device* Nvml::Find(const Gpu& gpu) const {
  Device* device = nullptr;
  if (DeviceGetHandleByUuid(gpu.uuid.c_str(), &device) == 0) return device;
  return DeviceGetHandleByPciBusId(gpu.pci_bus_id.c_str(), &device) == 0 ? device : nullptr;
}

GpuLoad Nvml::LoadOf(const Gpu& gpu) const {
  GpuLoad load;
  Device* device = Find(gpu);
  if (!device) return load;
  if (Utilization utilization{}; DeviceGetUtilizationRates(device, &utilization) == 0) load.busy_percent = utilization.gpu;
  if (Memory memory{}; DeviceGetMemoryInfo(device, &memory) == 0) {
    load.memory_bytes = memory.total;
    load.used_bytes = memory.used;
  }
  unsigned value = 0;
  if (DeviceGetCurrPcieLinkGeneration(device, &value) == 0) load.pcie_generation = value;
  if (DeviceGetCurrPcieLinkWidth(device, &value) == 0) load.pcie_lanes = value;
  if (DeviceGetPowerUsage(device, &value) == 0) load.power_w = value / 1e3;
  return load;
}

const Gpu& LeastBusy(std::span<const Gpu> gpus, const Nvml& nvml) {
  const auto busyness = [&](const Gpu& gpu) {
    const GpuLoad load = nvml.LoadOf(gpu);
    const uint64_t all = load.memory_bytes.value_or(0), used = std::min(all, load.used_bytes.value_or(0));
    return std::pair(load.busy_percent.value_or(kFullyBusy), ~(all - used));
  };
  const Gpu* best = &gpus.front();
  for (auto least = busyness(*best); const Gpu& gpu : gpus.subspan(1)) {
    const auto its = busyness(gpu);
    if (its >= least) continue;
    least = its;
    best = &gpu;
  }
  return *best;
}

}  // namespace tracelift::offload

// A device as its process drives it.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>

#include "offload/device/channel.h"

namespace tracelift::offload {

struct DeviceError {
  DeviceStatus status = DeviceStatus::kFailed;
  std::string text;
};
using DeviceResult = std::expected<void, DeviceError>;

/// Thread rule: one thread. Numbers of buffers and kernels are the program's, small and dense.
class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;

  virtual std::string name() const = 0;
  virtual std::string architecture() const { return ""; }
  virtual uint64_t memory_bytes() const = 0;

  virtual DeviceResult Reserve(uint32_t buffer, uint64_t bytes) = 0;
  virtual DeviceResult Free(uint32_t buffer) = 0;
  virtual DeviceResult CopyIn(uint32_t buffer, uint64_t offset, std::span<const uint8_t> from) = 0;
  virtual DeviceResult CopyOut(uint32_t buffer, uint64_t offset, std::span<uint8_t> to) = 0;
  virtual DeviceResult CopyWithin(uint32_t from, uint64_t from_offset, uint32_t to, uint64_t to_offset, uint64_t bytes) = 0;
  virtual DeviceResult Load(uint32_t kernel, std::span<const uint8_t> code, const std::string& symbol) = 0;
  /// Results are in the request when it returns.
  virtual DeviceResult Launch(LaunchRequest& request) = 0;
};

/// The CPU as a device: kernels run on copies in this process's memory, blocks of threads in any order.
std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeReferenceBackend();

/// The first NVIDIA GPU (offload/gpu). All copies are from and to `staging`.
std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeCudaBackend(std::span<uint8_t> staging);

}  // namespace tracelift::offload

// A device as its process drives it: buffers and kernels by number, as the program names them. What is the same for all devices is here;
// a backend knows one kind.
//
// Work may go on when the call that began it has returned. It does as if each call began when all before it were complete; staging memory
// and requests are in use until it is complete.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "offload/device/channel.h"

namespace tracelift::offload {

struct DeviceError {
  DeviceStatus status = DeviceStatus::kFailed;
  std::string text;
};
template <typename T>
using DeviceAnswer = std::expected<T, DeviceError>;
using DeviceResult = DeviceAnswer<void>;

/// Thread rule: one thread. Kernels are numbered without gaps. What names no buffer, no kernel, or what lies outside of a buffer is refused.
class DeviceBackend {
 public:
  static constexpr uint32_t kBackup = kMostBuffers;  // the device process's own buffer, behind those of the program

  virtual ~DeviceBackend() = default;
  virtual std::string name() const = 0;
  virtual uint64_t memory_bytes() const = 0;

  /// At least `bytes`; what the buffer held is lost where it must grow.
  DeviceResult Reserve(uint32_t buffer, uint64_t bytes);
  DeviceResult Free(uint32_t buffer);
  DeviceResult CopyIn(uint32_t buffer, uint64_t offset, std::span<const uint8_t> from);
  DeviceResult CopyOut(uint32_t buffer, uint64_t offset, std::span<uint8_t> to);
  DeviceResult CopyWithin(uint32_t from, uint64_t from_offset, uint32_t to, uint64_t to_offset, uint64_t bytes);
  DeviceResult Load(uint32_t kernel, std::span<const uint8_t> code, const std::string& symbol);
  /// Results are in the request when its work is complete.
  DeviceResult Launch(LaunchRequest& request);

  /// How many pieces of work were begun. A backend that completes each before it returns has none.
  virtual uint64_t begun() const { return 0; }
  /// Whether the first `count` of them are complete. The error is of one of them, or of the device.
  virtual DeviceAnswer<bool> AreComplete([[maybe_unused]] uint64_t count) { return true; }

 protected:
  struct Buffer {
    uint64_t address = 0, bytes = 0;  // 0: there is none
    uint64_t last_use = 0;            // piece of work, from 1
  };
  using Function = void*;  // of a kernel, as the backend knows it

  static std::unexpected<DeviceError> Failure(std::string text) { return std::unexpected(DeviceError{DeviceStatus::kFailed, std::move(text)}); }

 private:
  virtual DeviceAnswer<uint64_t> Allocate(uint64_t bytes) = 0;
  /// Work that uses it may be under way.
  virtual void Release(const Buffer& buffer) = 0;
  virtual DeviceResult Write(Buffer& buffer, uint64_t offset, std::span<const uint8_t> from) = 0;
  virtual DeviceResult Read(Buffer& buffer, uint64_t offset, std::span<uint8_t> to) = 0;
  virtual DeviceResult Copy(Buffer& from, uint64_t from_offset, Buffer& to, uint64_t to_offset, uint64_t bytes) = 0;
  virtual DeviceAnswer<Function> LoadFunction(std::span<const uint8_t> code, const std::string& symbol) = 0;
  /// `launch` lacks the addresses of state, flags and partial results, which are those of the request. It touches all `buffers`.
  virtual DeviceResult Run(Function function, jit::KernelLaunch& launch, std::span<Buffer* const> buffers, LaunchRequest& request) = 0;

  Buffer* Find(uint32_t buffer, uint64_t offset, uint64_t bytes);

  std::array<Buffer, kBackup + 1> buffers_{};
  std::vector<Function> kernels_;  // nullptr: not loaded
};

/// The CPU as a device: kernels run on copies in this process's memory, blocks of threads in any order.
std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeReferenceBackend();

/// The least busy NVIDIA GPU (offload/gpu). All copies are from and to `staging`; what the driver makes of kernels is kept in `kernels`.
std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeCudaBackend(std::span<uint8_t> staging, const KernelFolder& kernels);

}  // namespace tracelift::offload

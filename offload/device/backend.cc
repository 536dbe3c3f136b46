#include "offload/device/backend.h"

#include <fmt/format.h>

#include <algorithm>

namespace tracelift::offload {
namespace {

std::unexpected<DeviceError> Invalid(const char* what) {
  return std::unexpected(DeviceError{DeviceStatus::kFailed, fmt::format("{} that names what is not there", what)});
}

}  // namespace

// Those bytes of a buffer, or nullptr.
DeviceBackend::Buffer* DeviceBackend::Find(uint32_t buffer, uint64_t offset, uint64_t bytes) {
  if (buffer >= buffers_.size()) return nullptr;
  Buffer& found = buffers_[buffer];
  return offset <= found.bytes && bytes <= found.bytes - offset ? &found : nullptr;
}

DeviceResult DeviceBackend::Reserve(uint32_t buffer, uint64_t bytes) {
  Buffer* place = Find(buffer, 0, 0);
  if (!place) return Invalid("memory");
  if (bytes <= place->bytes) return {};
  (void)Free(buffer);
  const auto address = Allocate(bytes);
  if (!address) return std::unexpected(address.error());
  place->address = *address;
  place->bytes = bytes;
  return {};
}

DeviceResult DeviceBackend::Free(uint32_t buffer) {
  Buffer* place = Find(buffer, 0, 0);
  if (!place) return Invalid("memory");
  if (place->bytes > 0) Release(*place);
  *place = {};
  return {};
}

DeviceResult DeviceBackend::CopyIn(uint32_t buffer, uint64_t offset, std::span<const uint8_t> from) {
  Buffer* place = Find(buffer, offset, from.size());
  return place ? Write(*place, offset, from) : Invalid("a copy");
}

DeviceResult DeviceBackend::CopyOut(uint32_t buffer, uint64_t offset, std::span<uint8_t> to) {
  Buffer* place = Find(buffer, offset, to.size());
  return place ? Read(*place, offset, to) : Invalid("a copy");
}

DeviceResult DeviceBackend::CopyWithin(uint32_t from, uint64_t from_offset, uint32_t to, uint64_t to_offset, uint64_t bytes) {
  Buffer *source = Find(from, from_offset, bytes), *target = Find(to, to_offset, bytes);
  return source && target ? Copy(*source, from_offset, *target, to_offset, bytes) : Invalid("a copy");
}

DeviceResult DeviceBackend::Load(uint32_t kernel, std::span<const uint8_t> code, const std::string& symbol) {
  if (kernel > kernels_.size()) return Invalid("a kernel");
  const auto function = LoadFunction(code, symbol);
  if (!function) return std::unexpected(function.error());
  if (kernel == kernels_.size()) kernels_.push_back(nullptr);
  kernels_[kernel] = *function;
  return {};
}

DeviceResult DeviceBackend::Launch(LaunchRequest& request) {
  const bool is_loaded = request.kernel < kernels_.size() && kernels_[request.kernel];
  if (!is_loaded || request.blocks < 1 || request.memory_count > jit::kMaxMemories) return Invalid("a launch");
  jit::KernelLaunch launch;
  launch.first = request.first;
  launch.count = request.count;
  std::ranges::copy(request.extent, launch.extent);
  std::array<Buffer*, jit::kMaxMemories> buffers;
  for (uint32_t i = 0; i < request.memory_count; ++i) {
    const LaunchRequest::Memory& memory = request.memories[i];
    buffers[i] = Find(memory.buffer, 0, 0);
    if (!buffers[i]) return Invalid("a launch");
    launch.distance[i] = buffers[i]->address - memory.begin;
  }
  return Run(kernels_[request.kernel], launch, {buffers.data(), request.memory_count}, request);
}

}  // namespace tracelift::offload

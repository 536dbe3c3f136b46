// The reference device: what a GPU does, done by the CPU. Memory is this process's alone, so an access that was not moved to a copy
// faults, and the blocks of a grid are run in an order of no meaning, several at once.
#include <fmt/format.h>
#include <sys/mman.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "jit/compiler.h"
#include "offload/device/backend.h"

namespace tracelift::offload {
namespace {

constexpr int64_t kStride = 7919;  // a prime: block i of n is the one numbered i * kStride mod n, unless n is a multiple

class ReferenceBackend : public DeviceBackend {
 public:
  explicit ReferenceBackend(std::unique_ptr<jit::CodeLoader> loader) : loader_(std::move(loader)) {}

  std::string name() const override { return "reference"; }

  uint64_t memory_bytes() const override {
    const uint64_t all = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    return all / 4;
  }

  DeviceResult Reserve(uint32_t buffer, uint64_t bytes) override {
    if (buffer >= buffers_.size()) buffers_.resize(buffer + 1);
    Buffer& place = buffers_[buffer];
    if (bytes <= place.bytes) return {};
    (void)Free(buffer);
    const auto none = [&] {
      return std::unexpected(DeviceError{DeviceStatus::kOutOfMemory, fmt::format("no {} bytes of device memory", bytes)});
    };
    if (bytes > memory_bytes() - std::min(memory_bytes(), reserved_)) return none();
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return none();
    place = {static_cast<uint8_t*>(memory), bytes};
    reserved_ += bytes;
    return {};
  }

  DeviceResult Free(uint32_t buffer) override {
    if (buffer >= buffers_.size()) return {};
    Buffer& place = buffers_[buffer];
    reserved_ -= place.bytes;
    if (place.memory) munmap(place.memory, place.bytes);
    place = {};
    return {};
  }

  DeviceResult CopyIn(uint32_t buffer, uint64_t offset, std::span<const uint8_t> from) override {
    if (!Has(buffer, offset, from.size())) return Invalid("a copy");
    std::ranges::copy(from, buffers_[buffer].memory + offset);
    return {};
  }

  DeviceResult CopyOut(uint32_t buffer, uint64_t offset, std::span<uint8_t> to) override {
    if (!Has(buffer, offset, to.size())) return Invalid("a copy");
    std::copy_n(buffers_[buffer].memory + offset, to.size(), to.begin());
    return {};
  }

  DeviceResult CopyWithin(uint32_t from, uint64_t from_offset, uint32_t to, uint64_t to_offset, uint64_t bytes) override {
    if (!Has(from, from_offset, bytes) || !Has(to, to_offset, bytes)) return Invalid("a copy");
    std::copy_n(buffers_[from].memory + from_offset, bytes, buffers_[to].memory + to_offset);
    return {};
  }

  DeviceResult Load(uint32_t kernel, std::span<const uint8_t> code, const std::string& symbol) override {
    auto function = loader_->LoadKernel(code, symbol);
    if (!function) return std::unexpected(DeviceError{DeviceStatus::kFailed, function.error()});
    if (kernel >= kernels_.size()) kernels_.resize(kernel + 1);
    kernels_[kernel] = *function;
    return {};
  }

  DeviceResult Launch(LaunchRequest& request) override {
    if (request.kernel >= kernels_.size() || !kernels_[request.kernel]) return Invalid("a launch");
    jit::MachineState state = request.state;
    jit::KernelLaunch launch;
    launch.state = reinterpret_cast<uint64_t>(&state);
    launch.flags = reinterpret_cast<uint64_t>(&request.flags);
    launch.partial = reinterpret_cast<uint64_t>(request.partial.data());
    launch.first = request.first;
    launch.count = request.count;
    std::ranges::copy(request.extent, launch.extent);
    for (uint32_t i = 0; i < std::min<uint32_t>(request.memory_count, jit::kMaxMemories); ++i) {
      const LaunchRequest::Memory& memory = request.memories[i];
      if (!Has(memory.buffer, 0, 0)) return Invalid("a launch");
      launch.distance[i] = reinterpret_cast<uint64_t>(buffers_[memory.buffer].memory) - memory.begin;
    }
    const int64_t blocks = request.blocks, stride = blocks % kStride == 0 ? 1 : kStride;
    const jit::ReferenceKernel kernel = kernels_[request.kernel];
    tbb::parallel_for(tbb::blocked_range<int64_t>(0, blocks), [&](const tbb::blocked_range<int64_t>& range) {
      for (int64_t i = range.begin(); i < range.end(); ++i) {
        const auto block = static_cast<int64_t>(static_cast<__int128>(i) * stride % blocks);
        kernel(&launch, block, block + 1);
      }
    });
    return {};
  }

 private:
  struct Buffer {
    uint8_t* memory = nullptr;
    uint64_t bytes = 0;
  };

  bool Has(uint32_t buffer, uint64_t offset, uint64_t bytes) const {
    return buffer < buffers_.size() && offset <= buffers_[buffer].bytes && bytes <= buffers_[buffer].bytes - offset;
  }
  static DeviceResult Invalid(const char* what) {
    return std::unexpected(DeviceError{DeviceStatus::kFailed, fmt::format("{} that names what is not there", what)});
  }

  std::unique_ptr<jit::CodeLoader> loader_;
  std::vector<Buffer> buffers_;
  uint64_t reserved_ = 0;
  std::vector<jit::ReferenceKernel> kernels_;
};

}  // namespace

std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeReferenceBackend() {
  auto loader = jit::CodeLoader::Create();
  if (!loader) return std::unexpected(loader.error());
  return std::make_unique<ReferenceBackend>(std::move(*loader));
}

}  // namespace tracelift::offload

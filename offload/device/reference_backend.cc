// The reference device: what a GPU does, done by the CPU. Memory is this process's alone, so an access that was not moved to a copy
// faults, and the blocks of a grid are run in an order of no meaning, several at once.
#include <fmt/format.h>
#include <sys/mman.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

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

 private:
  DeviceAnswer<uint64_t> Allocate(uint64_t bytes) override {
    const auto none = [&] {
      return std::unexpected(DeviceError{DeviceStatus::kOutOfMemory, fmt::format("no {} bytes of device memory", bytes)});
    };
    if (bytes > memory_bytes() - std::min(memory_bytes(), reserved_)) return none();
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return none();
    reserved_ += bytes;
    return reinterpret_cast<uint64_t>(memory);
  }

  void Release(const Buffer& buffer) override {
    reserved_ -= buffer.bytes;
    munmap(At(buffer, 0), buffer.bytes);
  }

  DeviceResult Write(Buffer& buffer, uint64_t offset, std::span<const uint8_t> from) override {
    std::ranges::copy(from, At(buffer, offset));
    return {};
  }

  DeviceResult Read(Buffer& buffer, uint64_t offset, std::span<uint8_t> to) override {
    std::copy_n(At(buffer, offset), to.size(), to.begin());
    return {};
  }

  DeviceResult Copy(Buffer& from, uint64_t from_offset, Buffer& to, uint64_t to_offset, uint64_t bytes) override {
    std::memmove(At(to, to_offset), At(from, from_offset), bytes);
    return {};
  }

  DeviceAnswer<Function> LoadFunction(std::span<const uint8_t> code, const std::string& symbol) override {
    auto function = loader_->LoadKernel(code, symbol);
    if (!function) return Failure(function.error());
    return reinterpret_cast<Function>(*function);
  }

  DeviceResult Run(Function function, jit::KernelLaunch& launch, std::span<Buffer* const>, LaunchRequest& request) override {
    jit::MachineState state = request.state;
    launch.state = reinterpret_cast<uint64_t>(&state);
    launch.flags = reinterpret_cast<uint64_t>(&request.flags);
    launch.partial = reinterpret_cast<uint64_t>(request.partial.data());
    const int64_t blocks = request.blocks, stride = blocks % kStride == 0 ? 1 : kStride;
    const auto kernel = reinterpret_cast<jit::ReferenceKernel>(function);
    tbb::parallel_for(tbb::blocked_range<int64_t>(0, blocks), [&](const tbb::blocked_range<int64_t>& range) {
      for (int64_t i = range.begin(); i < range.end(); ++i) {
        const auto block = static_cast<int64_t>(static_cast<__int128>(i) * stride % blocks);
        kernel(&launch, block, block + 1);
      }
    });
    return {};
  }

  static uint8_t* At(const Buffer& buffer, uint64_t offset) { return reinterpret_cast<uint8_t*>(buffer.address + offset); }

  std::unique_ptr<jit::CodeLoader> loader_;
  uint64_t reserved_ = 0;
};

}  // namespace

std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeReferenceBackend() {
  auto loader = jit::CodeLoader::Create();
  if (!loader) return std::unexpected(loader.error());
  return std::make_unique<ReferenceBackend>(std::move(*loader));
}

}  // namespace tracelift::offload

// An NVIDIA GPU. Only ever in a device process of its own: the driver's threads, memory and mistakes stay out of the program.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "offload/device/backend.h"
#include "offload/gpu/cuda_driver.h"

namespace tracelift::offload {
namespace {

constexpr auto kBlockThreads = static_cast<unsigned>(jit::kBlockThreads);
constexpr int64_t kMostBlocks = INT32_MAX;
constexpr uint64_t kPinnedBytes = 32 << 20;  // pinned at once; pinning takes longer than a copy, but staging is used again
constexpr uint64_t kKeptFree = 256 << 20;    // for the driver and others

/// What a launch hands over beside its arguments.
struct Scratch {
  jit::MachineState state;
  uint32_t flags;
  uint64_t partial[jit::kMaxReductions];
};

class CudaBackend : public DeviceBackend {
 public:
  CudaBackend(const CudaDriver& driver, std::span<uint8_t> staging) : cuda_(driver), staging_(staging) {}

  std::string Start() {
    int devices = 0;
    if (const CuResult error = cuda_.Init(0)) return cuda_.Describe(error);
    if (cuda_.DeviceGetCount(&devices) != 0 || devices == 0) return "there is no CUDA device";
    CuContext* context = nullptr;
    for (const CuResult error : {cuda_.DeviceGet(&device_, 0), cuda_.DevicePrimaryCtxRetain(&context, device_), cuda_.CtxSetCurrent(context),
                                 cuda_.StreamCreate(&stream_, kCuStreamNonBlocking), cuda_.MemAlloc(&scratch_, sizeof(Scratch))}) {
      if (error) return cuda_.Describe(error);
    }
    return "";
  }

  std::string name() const override {
    char name[64] = "";
    (void)cuda_.DeviceGetName(name, sizeof(name), device_);
    return name;
  }

  uint64_t memory_bytes() const override {
    size_t free = 0, all = 0;
    (void)cuda_.MemGetInfo(&free, &all);
    return free - std::min<uint64_t>(free, kKeptFree);
  }

 private:
  DeviceAnswer<uint64_t> Allocate(uint64_t bytes) override {
    CuAddress address = 0;
    if (const CuResult error = cuda_.MemAlloc(&address, bytes)) return Failed(error);
    return address;
  }

  void Release(const Buffer& buffer) override { (void)cuda_.MemFree(buffer.address); }

  DeviceResult Write(Buffer& buffer, uint64_t offset, std::span<const uint8_t> from) override {
    Pin(from);
    return Do(cuda_.MemcpyHtoDAsync(buffer.address + offset, from.data(), from.size(), stream_));
  }

  DeviceResult Read(Buffer& buffer, uint64_t offset, std::span<uint8_t> to) override {
    Pin(to);
    return Do(cuda_.MemcpyDtoHAsync(to.data(), buffer.address + offset, to.size(), stream_));
  }

  DeviceResult Copy(Buffer& from, uint64_t from_offset, Buffer& to, uint64_t to_offset, uint64_t bytes) override {
    return Do(cuda_.MemcpyDtoDAsync(to.address + to_offset, from.address + from_offset, bytes, stream_));
  }

  DeviceAnswer<Function> LoadFunction(std::span<const uint8_t> code, const std::string& symbol) override {
    std::vector<uint8_t> text(code.begin(), code.end());
    text.push_back(0);
    CuModule* module = nullptr;
    CuFunction* function = nullptr;
    if (const CuResult error = cuda_.ModuleLoadDataEx(&module, text.data(), 0, nullptr, nullptr)) return Failed(error);
    if (const CuResult error = cuda_.ModuleGetFunction(&function, module, symbol.c_str())) return Failed(error);
    return function;
  }

  DeviceResult Run(Function function, jit::KernelLaunch& launch, std::span<Buffer* const>, LaunchRequest& request) override {
    if (request.blocks > kMostBlocks) return Failure("a grid of too many blocks");
    launch.state = scratch_ + offsetof(Scratch, state);
    launch.flags = scratch_ + offsetof(Scratch, flags);
    launch.partial = scratch_ + offsetof(Scratch, partial);
    shared_.state = request.state;
    shared_.flags = request.flags;
    std::ranges::copy(request.partial, shared_.partial);
    void* parameters[] = {&launch};
    for (const CuResult error :
         {cuda_.MemcpyHtoDAsync(scratch_, &shared_, sizeof(shared_), stream_),
          cuda_.LaunchKernel(static_cast<CuFunction*>(function), static_cast<unsigned>(request.blocks), 1, 1, kBlockThreads, 1, 1, 0, stream_, parameters, nullptr),
          cuda_.MemcpyDtoHAsync(&shared_, scratch_, sizeof(shared_), stream_), cuda_.StreamSynchronize(stream_)}) {
      if (error) return Failed(error);
    }
    request.flags = shared_.flags;
    std::ranges::copy(shared_.partial, request.partial.begin());
    return {};
  }

  std::unexpected<DeviceError> Failed(CuResult error) const {
    return std::unexpected(DeviceError{error == kCuOutOfMemory ? DeviceStatus::kOutOfMemory : DeviceStatus::kFailed, cuda_.Describe(error)});
  }
  DeviceResult Do(CuResult error) {
    if (error == 0) error = cuda_.StreamSynchronize(stream_);
    if (error) return Failed(error);
    return {};
  }

  // Copies from and to pinned memory need no other copy on the way. Where there is none to be had they only take longer.
  void Pin(std::span<const uint8_t> memory) {
    const auto at = static_cast<uint64_t>(memory.data() - staging_.data());
    for (uint64_t block = at / kPinnedBytes; block * kPinnedBytes < at + memory.size(); ++block) {
      if (std::ranges::find(pinned_, block) != pinned_.end()) continue;
      pinned_.push_back(block);
      const uint64_t begin = block * kPinnedBytes, bytes = std::min<uint64_t>(kPinnedBytes, staging_.size() - begin);
      (void)cuda_.MemHostRegister(staging_.data() + begin, bytes, 0);
    }
  }

  const CudaDriver cuda_;
  const std::span<uint8_t> staging_;
  CuDevice device_ = 0;
  CuStream* stream_ = nullptr;
  CuAddress scratch_ = 0;
  Scratch shared_{};
  std::vector<uint64_t> pinned_;  // blocks of kPinnedBytes, by number
};

}  // namespace

std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeCudaBackend(std::span<uint8_t> staging) {
  const auto driver = CudaDriver::Open();
  if (!driver) return std::unexpected(driver.error());
  auto backend = std::make_unique<CudaBackend>(*driver, staging);
  if (std::string problem = backend->Start(); !problem.empty()) return std::unexpected(std::move(problem));
  return backend;
}

}  // namespace tracelift::offload

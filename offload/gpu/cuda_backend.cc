// An NVIDIA GPU. Only ever in a device process of its own: the driver's threads, memory and mistakes stay out of the program.
//
// Copies in, kernels, and copies out have a stream each, and go on side by side. Each piece of work has an event behind it; what uses a
// buffer on another stream than what used it last waits for that, on the device.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "offload/device/backend.h"
#include "offload/gpu/cubin_cache.h"
#include "offload/gpu/cuda_driver.h"
#include "offload/gpu/nvml.h"

namespace tracelift::offload {
namespace {

constexpr auto kBlockThreads = static_cast<unsigned>(jit::kBlockThreads);
constexpr int64_t kMostBlocks = INT32_MAX;
constexpr uint64_t kPinnedBytes = 32 << 20;  // pinned at once; pinning takes longer than a copy, but staging is used again
constexpr uint64_t kKeptFree = 256 << 20;    // for the driver and others

// Of a LaunchRequest: what kernels read and write, from here to the end; what they write, from here to the state.
constexpr size_t kSharedAt = offsetof(LaunchRequest, flags), kSharedBytes = sizeof(LaunchRequest) - kSharedAt;
constexpr size_t kResultBytes = offsetof(LaunchRequest, state) - kSharedAt;
static_assert(offsetof(LaunchRequest, partial) > kSharedAt && kResultBytes > offsetof(LaunchRequest, partial) - kSharedAt);

class CudaBackend : public DeviceBackend {
 public:
  CudaBackend(const CudaDriver& driver, std::span<uint8_t> staging) : cuda_(driver), staging_(staging) {}

  std::string Start(const KernelFolder& kernels) {
    auto gpus = cuda_.Gpus();
    if (!gpus) return gpus.error();
    gpu_ = Choose(*gpus);
    CuContext* context = nullptr;
    if (const CuResult error = cuda_.DevicePrimaryCtxRetain(&context, gpu_.device)) return cuda_.Describe(error);
    if (const CuResult error = cuda_.CtxSetCurrent(context)) return cuda_.Describe(error);
    if (const CuResult error = cuda_.MemAlloc(&scratch_, sizeof(LaunchRequest))) return cuda_.Describe(error);
    for (CuStream** stream : {&in_, &kernels_, &out_}) {
      if (const CuResult error = cuda_.StreamCreate(stream, kCuStreamNonBlocking)) return cuda_.Describe(error);
    }
    for (Work& work : work_) {
      if (const CuResult error = cuda_.EventCreate(&work.end, kCuEventDisableTiming)) return cuda_.Describe(error);
    }
    cubins_.emplace(kernels, Maker());
    return "";
  }

  std::string name() const override { return gpu_.name; }

  uint64_t memory_bytes() const override {
    size_t free = 0, all = 0;
    (void)cuda_.MemGetInfo(&free, &all);
    return free - std::min<uint64_t>(free, kKeptFree);
  }

  uint64_t begun() const override { return begun_; }

  DeviceAnswer<bool> AreComplete(uint64_t count) override {
    for (; complete_ < count; ++complete_) {
      const CuResult error = cuda_.EventQuery(WorkOf(complete_ + 1).end);
      if (error == kCuNotReady) return false;
      if (error) return Failed(error);
    }
    return true;
  }

 private:
  static const Gpu& Choose(std::span<const Gpu> gpus) {
    if (gpus.size() > 1) {
      if (const auto nvml = Nvml::Open()) return LeastBusy(gpus, *nvml);
    }
    return gpus.front();
  }

  DeviceAnswer<uint64_t> Allocate(uint64_t bytes) override {
    CuAddress address = 0;
    if (const CuResult error = cuda_.MemAlloc(&address, bytes)) return Failed(error);
    return address;
  }

  void Release(const Buffer& buffer) override {
    if (buffer.last_use > complete_) (void)cuda_.EventSynchronize(WorkOf(buffer.last_use).end);
    (void)cuda_.MemFree(buffer.address);
  }

  DeviceResult Write(Buffer& buffer, uint64_t offset, std::span<const uint8_t> from) override {
    Pin(from);
    Buffer* const used[] = {&buffer};
    return Begin(in_, used, [&] { return cuda_.MemcpyHtoDAsync(buffer.address + offset, from.data(), from.size(), in_); });
  }

  DeviceResult Read(Buffer& buffer, uint64_t offset, std::span<uint8_t> to) override {
    Pin(to);
    Buffer* const used[] = {&buffer};
    return Begin(out_, used, [&] { return cuda_.MemcpyDtoHAsync(to.data(), buffer.address + offset, to.size(), out_); });
  }

  DeviceResult Copy(Buffer& from, uint64_t from_offset, Buffer& to, uint64_t to_offset, uint64_t bytes) override {
    Buffer* const used[] = {&from, &to};
    return Begin(kernels_, used, [&] { return cuda_.MemcpyDtoDAsync(to.address + to_offset, from.address + from_offset, bytes, kernels_); });
  }

  DeviceAnswer<Function> LoadFunction(std::span<const uint8_t> code, const std::string& symbol) override {
    std::vector<uint8_t> text(code.begin(), code.end());
    text.push_back(0);
    if (const auto kept = cubins_->Find(text)) {
      if (const auto function = LoadImage(*kept, symbol)) return function;
    }
    if (const auto made = cubins_->is_open() ? Link(text) : std::nullopt) {
      if (const auto function = LoadImage(*made, symbol)) {
        cubins_->Keep(text, *made);
        return function;
      }
    }
    return LoadImage(text, symbol);
  }

  /// Of a cubin, or a text that ends with 0.
  DeviceAnswer<Function> LoadImage(std::span<const uint8_t> image, const std::string& symbol) const {
    CuModule* module = nullptr;
    CuFunction* function = nullptr;
    if (const CuResult error = cuda_.ModuleLoadDataEx(&module, image.data(), 0, nullptr, nullptr)) return Failed(error);
    if (const CuResult error = cuda_.ModuleGetFunction(&function, module, symbol.c_str())) {
      (void)cuda_.ModuleUnload(module);
      return Failed(error);
    }
    return function;
  }

  /// The text as a cubin for this device.
  std::optional<std::vector<uint8_t>> Link(std::vector<uint8_t>& text) const {
    CuLinker* linker = nullptr;
    if (cuda_.LinkCreate(0, nullptr, nullptr, &linker) != 0) return std::nullopt;
    void* cubin = nullptr;
    size_t bytes = 0;
    std::optional<std::vector<uint8_t>> made;
    if (cuda_.LinkAddData(linker, kCuInputPtx, text.data(), text.size(), "kernel", 0, nullptr, nullptr) == 0 &&
        cuda_.LinkComplete(linker, &cubin, &bytes) == 0) {
      made.emplace(static_cast<const uint8_t*>(cubin), static_cast<const uint8_t*>(cubin) + bytes);
    }
    (void)cuda_.LinkDestroy(linker);
    return made;
  }

  /// All that decides what a kernel's text becomes.
  std::string Maker() const {
    int version = 0;
    (void)cuda_.DriverGetVersion(&version);
    return fmt::format("sm_{}{} driver {}", gpu_.major, gpu_.minor, version);
  }

  DeviceResult Run(Function function, jit::KernelLaunch& launch, std::span<Buffer* const> buffers, LaunchRequest& request) override {
    if (request.blocks > kMostBlocks) return Failure("a grid of too many blocks");
    Pin({reinterpret_cast<const uint8_t*>(&request), sizeof(request)});
    launch.state = scratch_ + offsetof(LaunchRequest, state);
    launch.flags = scratch_ + offsetof(LaunchRequest, flags);
    launch.partial = scratch_ + offsetof(LaunchRequest, partial);
    const auto blocks = static_cast<unsigned>(request.blocks);
    void* parameters[] = {&launch};
    auto* shared = reinterpret_cast<uint8_t*>(&request) + kSharedAt;
    return Begin(kernels_, buffers, [&] {
      CuResult error = cuda_.MemcpyHtoDAsync(scratch_ + kSharedAt, shared, kSharedBytes, kernels_);
      if (!error) error = cuda_.LaunchKernel(static_cast<CuFunction*>(function), blocks, 1, 1, kBlockThreads, 1, 1, 0, kernels_, parameters, nullptr);
      if (!error) error = cuda_.MemcpyDtoHAsync(shared, scratch_ + kSharedAt, kResultBytes, kernels_);
      return error;
    });
  }

  struct Work {
    CuEvent* end = nullptr;
    CuStream* stream = nullptr;
  };

  Work& WorkOf(uint64_t number) { return work_[number % work_.size()]; }

  /// `enqueue` puts a piece of work on the stream, behind all that used these buffers before.
  template <typename Enqueue>
  DeviceResult Begin(CuStream* stream, std::span<Buffer* const> buffers, Enqueue enqueue) {
    const uint64_t number = begun_ + 1;
    for (; complete_ + work_.size() < number; ++complete_) {
      if (const CuResult error = cuda_.EventSynchronize(WorkOf(complete_ + 1).end)) return Failed(error);
    }
    for (const Buffer* buffer : buffers) {
      const Work& before = WorkOf(buffer->last_use);
      if (buffer->last_use <= complete_ || before.stream == stream) continue;
      if (const CuResult error = cuda_.StreamWaitEvent(stream, before.end, 0)) return Failed(error);
    }
    // Whatever of it is on the stream, should not all be, has the event behind it.
    CuResult error = enqueue();
    const CuResult record_error = cuda_.EventRecord(WorkOf(number).end, stream);
    if (!error) error = record_error;
    WorkOf(number).stream = stream;
    begun_ = number;
    for (Buffer* buffer : buffers) buffer->last_use = number;
    if (error) return Failed(error);
    return {};
  }

  std::unexpected<DeviceError> Failed(CuResult error) const {
    return std::unexpected(DeviceError{error == kCuOutOfMemory ? DeviceStatus::kOutOfMemory : DeviceStatus::kFailed, cuda_.Describe(error)});
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
  Gpu gpu_;
  CuStream *in_ = nullptr, *kernels_ = nullptr, *out_ = nullptr;
  CuAddress scratch_ = 0;  // what kernels see of the request of the launch that runs
  std::array<Work, kCommandsInFlight> work_{};  // the latest pieces, by number
  uint64_t begun_ = 0, complete_ = 0;
  std::optional<CubinCache> cubins_;
  std::vector<uint64_t> pinned_;  // blocks of kPinnedBytes, by number
};

}  // namespace

std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeCudaBackend(std::span<uint8_t> staging, const KernelFolder& kernels) {
  const auto driver = CudaDriver::Open();
  if (!driver) return std::unexpected(driver.error());
  auto backend = std::make_unique<CudaBackend>(*driver, staging);
  if (std::string problem = backend->Start(kernels); !problem.empty()) return std::unexpected(std::move(problem));
  return backend;
}

}  // namespace tracelift::offload

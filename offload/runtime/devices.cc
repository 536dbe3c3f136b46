// The device that regions may run on beside this machine's cores: started when the first loop is compiled for it, given up when it is
// lost.

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <ranges>
#include <string_view>

#include "offload/device/page_server.h"
#include "offload/host/parallel_copy.h"
#include "offload/host/signals.h"
#include "offload/runtime/session.h"

namespace tracelift::offload {
namespace {

constexpr std::string_view kCpu = "cpu", kReference = "reference", kGpu = "gpu";

constexpr uint64_t kShareOfLog = 3;  // of what memory the system has left

/// What may be taken beside the program's memory; none where address space is counted.
uint64_t MemoryForLog() {
  rlimit address_space{};
  if (getrlimit(RLIMIT_AS, &address_space) != 0 || address_space.rlim_cur != RLIM_INFINITY) return 0;
  int overcommit = 0;
  std::ifstream("/proc/sys/vm/overcommit_memory") >> overcommit;
  constexpr int kNever = 2;
  if (overcommit == kNever) return 0;
  std::ifstream stream("/proc/meminfo");
  uint64_t kib = 0;
  for (std::string word; stream >> word;) {
    if (word == "MemAvailable:") stream >> kib;
  }
  return (kib << 10) / kShareOfLog;
}

/// The program that drives devices, beside the library that this code is in, or in the folder `bin` beside its own.
std::string DeviceServer() {
  namespace fs = std::filesystem;
  Dl_info own{};
  if (dladdr(reinterpret_cast<const void*>(&DeviceServer), &own) == 0 || own.dli_fname == nullptr) return "";
  std::error_code error;
  const fs::path folder = fs::absolute(own.dli_fname, error).parent_path();
  for (const fs::path& candidate : {folder.parent_path() / "bin", folder}) {
    if (fs::path server = candidate / "tracelift-device"; fs::exists(server, error)) return server.string();
  }
  return (folder / "tracelift-device").string();  // whose absence is told
}

}  // namespace

void Session::ReadDevices() {
  bool cpu = false;
  for (const auto part : std::views::split(std::string_view(config_->devices), ',')) {
    const std::string_view name(part.begin(), part.end());
    if (name == kCpu) {
      cpu = true;
    } else if (name == kReference || name == kGpu) {
      device_name_ = name;
    } else if (!name.empty()) {
      Note(fmt::format("no device is called {}: there are cpu, gpu and reference", name));
    }
  }
  only_device_ = !device_name_.empty() && !cpu;
}

bool Session::StartDevice() {
  if (device_) return !device_->is_lost();
  if (device_name_.empty() || !no_device_.empty()) return false;
  const bool keeps = std::string_view(config_->cache) != "off";
  auto device = DeviceLink::Start(DeviceServer(), device_name_, {keeps ? config_->cache : "", config_->cache_mib});
  if (!device) {
    no_device_ = fmt::format("the device {} cannot be used: {}", device_name_, device.error());
    Note(no_device_);
    return false;
  }
  device_ = *device;
  DeviceCopies* copies = DeviceCopies::CreateForever(*device_, MemoryForLog());
  if (copies) (void)PageServer::Start(*copies);
  if (copies) copies->CopyBy([](void* pool, void* to, const void* from, uint64_t bytes) { CopyTogether(*static_cast<WorkerPool*>(pool), to, from, bytes); }, pool_);
  copies_.store(copies);
  Note(fmt::format("device {}, {} MiB", device_->name(), device_->memory_bytes() >> 20));
  return true;
}

jit::KernelTarget Session::KernelsOfDevice() {
  if (!StartDevice()) return jit::KernelTarget::kNone;
  return device_name_ == kGpu ? jit::KernelTarget::kPtx : jit::KernelTarget::kReference;
}

// The latest of the finding's variants that needs no device, for the values that the published one is for.
const Variant* Session::OnCores(const Finding& finding) const {
  const Variant* published = finding.region->variant.load(std::memory_order_relaxed);
  for (const std::unique_ptr<Variant>& variant : std::views::reverse(finding.variants)) {
    if (!variant->artifact.kernel && published && variant->artifact.guards == published->artifact.guards) return variant.get();
  }
  return nullptr;
}

// What GPUs get, or would get, for those who want to read it; or why they cannot.
void Session::KeepKernel(const Finding& finding) {
  if (config_->kernels[0] == 0) return;
  const CompileRequest request = RequestFor(finding, finding.unsteady, jit::KernelTarget::kPtx);
  const auto artifact = jit::CompileLoop(reader_, request.code, request.loop, request.seen,
                                         {.unsteady = finding.unsteady, .any_size = finding.recompiles > 0, .kernel = jit::KernelTarget::kPtx});
  const profiler::Module* module = modules_.Find(finding.address);
  const std::string name = module ? std::filesystem::path(module->path).filename().string() : "code";
  const std::string file = fmt::format("{}/{}-{:x}.{}", config_->kernels, name, module ? module->ToElfAddress(finding.address) : finding.address,
                                       artifact ? "ptx" : "txt");
  std::ofstream stream(file, std::ios::binary);
  if (artifact) {
    stream.write(reinterpret_cast<const char*>(artifact->kernel->code.data()), static_cast<std::streamsize>(artifact->kernel->code.size()));
  } else {
    stream << jit::Describe(artifact.error()) << '\n';
  }
  if (!stream.flush()) Note(fmt::format("{}: cannot be written", file));
}

void Session::ReleasePages(uint64_t begin, uint64_t bytes) const {
  DeviceCopies* copies = copies_.load();
  if (!copies) return;
  const SignalMask mask = BlockAllSignals();
  copies->Release({begin, begin + bytes});
  RestoreSignals(mask);
}

// What ran there runs on the cores again, or is the original's.
void Session::LookAfterDevice() {
  if (!device_ || !device_->is_lost() || device_lost_) return;
  device_lost_ = true;
  device_->Abandon();
  Note(fmt::format("the device {} was lost: {}. {}", device_->name(), device_->Why(),
                   only_device_ ? "The original code does what ran there" : "The cores do what ran there"));
  for (Finding& finding : findings_) {
    if (!finding.region || finding.rejection) continue;
    Region& region = *finding.region;
    const Variant *variant = region.variant.load(std::memory_order_relaxed), *rival = region.rival.load(std::memory_order_relaxed);
    if (rival && rival->artifact.kernel) region.rival.store(nullptr, std::memory_order_release);
    if (!variant || !variant->artifact.kernel) continue;
    if (const Variant* on_cores = OnCores(finding)) {
      Publish(finding, *on_cores);
      finding.upkeep.Open(TallyOf(finding));
    } else {
      PutBack(finding, jit::RejectionReason::kDeviceLost);
    }
  }
}

}  // namespace tracelift::offload

// `tracelift doctor`: one line per thing that matters, and what will be worse where it is missing.
#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "offload/cli/commands.h"
#include "offload/cli/installation.h"
#include "offload/device/page_server.h"
#include "offload/gpu/cuda_driver.h"
#include "offload/gpu/nvml.h"

namespace tracelift::offload {
namespace {

constexpr double kGib = 1 << 30;

int degraded = 0;

void Good(const char* what, const std::string& found) { fmt::print("  ok    {:<14} {}\n", what, found); }
void Worse(const char* what, const std::string& found, const std::string& consequence) {
  ++degraded;
  fmt::print("  --    {:<14} {}\n{:24}{}\n", what, found, "", consequence);
}

std::string FirstLine(const char* file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

void CheckSystem() {
  utsname name;
  if (uname(&name) == 0) Good("kernel", fmt::format("{} {}", name.sysname, name.release));
}

std::string CpuModel() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

void CheckCpu() {
  cpu_set_t allowed;
  const int cores = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
  const std::string model = CpuModel();
  if (cores >= 2) {
    Good("CPU", fmt::format("{}, {} cores allowed to this process", model, cores));
  } else {
    Worse("CPU", fmt::format("{}, one core", model), "no iterations run side by side; only better code can gain");
  }
  std::string features;
  const auto add = [&](bool has, const char* name) { features += has ? fmt::format("{} ", name) : ""; };
  __builtin_cpu_init();
  add(__builtin_cpu_supports("sse4.2"), "sse4.2");
  add(__builtin_cpu_supports("avx"), "avx");
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("bmi2"), "bmi2");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512vl"), "avx512vl");
  if (__builtin_cpu_supports("avx2")) {
    Good("vectors", features);
  } else {
    Worse("vectors", features.empty() ? "SSE2 only" : features, "without AVX2 loops gain from more cores only");
  }
  const auto kib = [](int name) { return sysconf(name) > 0 ? sysconf(name) / 1024 : 0; };
  Good("caches", fmt::format("L1 {} KiB, L2 {} KiB, L3 {} KiB", kib(_SC_LEVEL1_DCACHE_SIZE), kib(_SC_LEVEL2_CACHE_SIZE),
                             kib(_SC_LEVEL3_CACHE_SIZE)));
}

void CheckPerf() {
  const std::string paranoid = FirstLine("/proc/sys/kernel/perf_event_paranoid");
  perf_event_attr attributes{};
  attributes.size = sizeof(attributes);
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_CPU_CLOCK;
  attributes.sample_period = 1'000'000;
  attributes.sample_type = PERF_SAMPLE_IP;
  for (const bool kernel_too : {true, false}) {
    attributes.exclude_kernel = !kernel_too;
    const int fd = static_cast<int>(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
    if (fd < 0) continue;
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* ring = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const int mmap_error = errno;
    close(fd);
    if (ring == MAP_FAILED) {
      return Worse("perf events", fmt::format("no memory for the samples: {}", strerror(mmap_error)),
                   "timers are used: 250 samples a second instead of 500, and a signal in the program; raise "
                   "kernel.perf_event_mlock_kb");
    }
    munmap(ring, 2 * page);
    return Good("perf events", fmt::format("cpu-clock, {} (perf_event_paranoid {})",
                                           kernel_too ? "user and kernel" : "user mode only", paranoid));
  }
  Worse("perf events", fmt::format("refused: {} (perf_event_paranoid {})", strerror(errno), paranoid),
        "timers are used: 250 samples a second instead of 500, and a signal in the program; allow it with "
        "sysctl kernel.perf_event_paranoid=2");
}

void CheckMembarrier() {
  const long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  if (commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)) {
    Good("membarrier", "expedited, SYNC_CORE");
  } else {
    Worse("membarrier", commands < 0 ? strerror(errno) : "without SYNC_CORE",
          "code can be replaced only where one aligned store does it; other loops stay home");
  }
}

// PROCMAP_QUERY of Linux 6.11, laid out as in linux/fs.h, which is older here.
void CheckMapQuery() {
  struct {
    uint64_t size, query_flags, query_address;
    uint64_t start, end, flags, page_size, offset, inode;
    uint32_t device_major, device_minor, name_size, build_id_size;
    uint64_t name_address, build_id_address;
  } query{};
  static_assert(sizeof(query) == 104);
  query.size = sizeof(query);
  query.query_address = reinterpret_cast<uint64_t>(&query);
  const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  const bool works = fd >= 0 && ioctl(fd, _IOWR('f', 17, query), &query) == 0 && query.end > query.start;
  if (fd >= 0) close(fd);
  if (works) {
    Good("memory map", "PROCMAP_QUERY");
  } else {
    Worse("memory map", "no PROCMAP_QUERY (Linux 6.11)", "checking that ranges are mapped reads /proc/self/maps: slower");
  }
}

std::string LoadText(const GpuLoad& load) {
  std::string text;
  const auto add = [&](const std::string& part) { text += ", " + part; };
  if (load.busy_percent) add(fmt::format("{}% busy", *load.busy_percent));
  if (load.used_bytes) add(fmt::format("{:.1f} GiB in use", static_cast<double>(*load.used_bytes) / kGib));
  if (load.pcie_generation && load.pcie_lanes) add(fmt::format("PCIe {} x{}", *load.pcie_generation, *load.pcie_lanes));
  if (load.power_w) add(fmt::format("{:.0f} W", *load.power_w));
  return text;
}

void CheckGpu() {
  constexpr char kConsequence[] = "regions run on the CPU only";
  const auto driver = CudaDriver::Open();
  if (!driver) return Worse("GPU", driver.error(), kConsequence);
  const auto nvml = Nvml::Open();
  const auto gpus = driver->Gpus();
  if (!gpus) {
    const auto names = nvml ? nvml->Names() : std::vector<std::string>();
    const std::string seen = names.empty() ? "" : fmt::format("; NVML knows {}", fmt::join(names, ", "));
    return Worse("GPU", fmt::format("a CUDA driver, but no device that it can use: {}{}", gpus.error(), seen), kConsequence);
  }
  for (const Gpu& gpu : *gpus) {
    Good("GPU", fmt::format("{}, {} GiB, compute capability {}.{}{}", gpu.name, gpu.memory_bytes >> 30, gpu.major, gpu.minor,
                            nvml ? LoadText(nvml->LoadOf(gpu)) : ""));
  }
  if (!nvml) Worse("NVML", nvml.error(), "which GPU is busy is not known: the first is used");
}

// Drivers compile kernels themselves; the toolkit's assembler only checks them, in tests.
void CheckToolkit() {
  const char* path = getenv("PATH");
  std::string folders = fmt::format("{}:/usr/local/cuda/bin", path ? path : "");
  for (size_t begin = 0; begin < folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string ptxas = folders.substr(begin, end - begin) + "/ptxas";
    if (end > begin && access(ptxas.c_str(), X_OK) == 0) return Good("CUDA Toolkit", ptxas);
    begin = end + 1;
  }
  Good("CUDA Toolkit", "none (no ptxas); only tests use it");
}

void CheckPages() {
  if (PageServer::IsPossible()) {
    Good("results", "stay on a device until they are touched (userfaultfd)");
  } else {
    Worse("results", "no userfaultfd for faults in system calls, with events (CAP_SYS_PTRACE, Linux 6.9)", "what a device computes comes back at once");
  }
}

void CheckInstallation() {
  const auto installation = FindInstallation();
  if (!installation) return Worse("installation", installation.error(), "nothing can be run");
  if (access(installation->device_server.c_str(), X_OK) == 0) {
    Good("devices", installation->device_server);
  } else {
    Worse("devices", fmt::format("{} is missing", installation->device_server), "regions run on the CPU only, whatever --devices says; install tracelift again");
  }
  Good("preload", installation->preload);
  // Opened in full, as in a traced program: a library that it needs and that is missing shows here.
  if (dlopen(installation->runtime.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) {
    Good("runtime", installation->runtime);
  } else {
    Worse("runtime", installation->runtime, fmt::format("cannot be opened, so programs run as without us: {}", dlerror()));
  }
}

}  // namespace

int DoctorCommand() {
  fmt::print("tracelift {}\n", TRACELIFT_VERSION);
  CheckSystem();
  CheckCpu();
  CheckPerf();
  CheckMembarrier();
  CheckMapQuery();
  CheckPages();
  CheckGpu();
  CheckToolkit();
  CheckInstallation();
  fmt::print("{}\n", degraded == 0 ? "Nothing is degraded." : fmt::format("{} of these degraded, see above.", degraded));
  return 0;
}

}  // namespace tracelift::offload

#include "offload/device/device_link.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <vector>

extern char** environ;

namespace tracelift::offload {
namespace {

constexpr double kLongestStartNs = 20e9;
constexpr double kLongestLoadNs = 10e9;
constexpr double kSpinNs = 50e3;      // before a wait for a device sleeps
constexpr double kLookAgainNs = 20e6;  // whether it still lives
constexpr double kLongestFetchNs = 10e9;
constexpr double kLongestYieldNs = 0.2e9;
constexpr uint32_t kMostKernels = 1024;
constexpr int kLowestFd = 64;          // programs count on the lowest numbers

double NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

/// While `word` has the value; between processes.
void WaitWhile(const std::atomic<uint32_t>& word, uint32_t value, double longest_ns) {
  const timespec time{0, static_cast<long>(longest_ns)};
  syscall(SYS_futex, &word, FUTEX_WAIT, value, &time, nullptr, 0);
}

/// Takes `fd` over.
int MoveUp(int fd) {
  const int up = fcntl(fd, F_DUPFD_CLOEXEC, kLowestFd);
  close(fd);
  return up;
}

struct Launch {
  const char* program;
  char* const* arguments;
  char* const* environment;
  int channel, life;
  char* stack;    // of the process that becomes the server
  int error = 0;  // why there is none
};

constexpr int kSharingMemory = CLONE_VM | CLONE_VFORK;  // until it is another program, or has ended; no signal tells its end

int BecomeServer(void* argument) {
  Launch& launch = *static_cast<Launch*>(argument);
  if (dup2(launch.channel, kChannelFd) >= 0 && dup2(launch.life, kLifeFd) >= 0) {
    syscall(SYS_close_range, kLifeFd + 1, ~0u, 0);
    execve(launch.program, launch.arguments, launch.environment);
  }
  launch.error = errno;
  _exit(0);
}

int StartServer(void* argument) {
  Launch& launch = *static_cast<Launch*>(argument);
  if (clone(&BecomeServer, launch.stack, kSharingMemory, &launch) < 0) launch.error = errno;
  _exit(0);
}

/// Neither traced, nor told what is meant for the program.
std::vector<char*> ServerEnvironment() {
  std::vector<char*> variables;
  for (char** entry = environ; entry && *entry; ++entry) {
    if (strncmp(*entry, "LD_PRELOAD=", 11) != 0 && strncmp(*entry, "TRACELIFT_", 10) != 0) variables.push_back(*entry);
  }
  variables.push_back(nullptr);
  return variables;
}

/// The program must never meet it: no signal tells its end, and it is not waited for with other children. A child that ends at once
/// starts it, so it is nobody's child; that child is waited for as only clones are.
std::string Spawn(const std::string& server, const std::string& device, const KernelFolder& kernels, int channel, int life) {
  constexpr size_t kStackBytes = 64 << 10;
  std::vector<char> stacks(2 * kStackBytes);
  std::vector<char*> environment = ServerEnvironment();
  std::string words[] = {server, device, kernels.path, std::to_string(kernels.most_mib)};
  char* const arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
  Launch launch{server.c_str(), arguments, environment.data(), channel, life, stacks.data() + kStackBytes};
  const int pid = clone(&StartServer, stacks.data() + 2 * kStackBytes, kSharingMemory, &launch);
  if (pid < 0) return fmt::format("{}: {}", server, strerror(errno));
  int status = 0;
  while (syscall(SYS_wait4, pid, &status, __WCLONE, nullptr) < 0 && errno == EINTR) {
  }
  return launch.error == 0 ? "" : fmt::format("{}: {}", server, strerror(launch.error));
}

}  // namespace

std::expected<DeviceLink*, std::string> DeviceLink::Start(const std::string& server, const std::string& device, const KernelFolder& kernels) {
  if (access(server.c_str(), X_OK) != 0) return std::unexpected(fmt::format("{}: {}", server, strerror(errno)));
  const int channel = MoveUp(memfd_create("tracelift-device", MFD_CLOEXEC));
  int life[2] = {-1, -1};
  if (channel < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, life) != 0) {
    if (channel >= 0) close(channel);
    return std::unexpected(fmt::format("no file descriptors for a device: {}", strerror(errno)));
  }
  for (int& end : life) end = MoveUp(end);
  const auto give_up = [&](std::string why) {
    for (const int fd : {channel, life[0], life[1]}) close(fd);
    return std::unexpected(std::move(why));
  };
  if (ftruncate(channel, static_cast<off_t>(kStagingAt + kStagingBytes)) != 0) return give_up(fmt::format("no memory to share: {}", strerror(errno)));
  void* memory = mmap(nullptr, kStagingAt + kStagingBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, channel, 0);
  if (memory == MAP_FAILED) return give_up(fmt::format("no memory to share: {}", strerror(errno)));
  (void)madvise(memory, kStagingAt + kStagingBytes, MADV_DONTFORK);

  auto* link = new DeviceLink;
  link->channel_ = new (memory) DeviceChannel;
  link->process_ = getpid();
  if (std::string problem = Spawn(server, device, kernels, channel, life[1]); !problem.empty()) {
    munmap(memory, kStagingAt + kStagingBytes);
    return give_up(std::move(problem));
  }
  close(channel);
  close(life[1]);
  link->life_ = life[0];
  const double deadline = NowNs() + kLongestStartNs;
  while (link->channel_->ready.load(std::memory_order_acquire) == 0 && !link->HasEnded() && NowNs() < deadline) {
    WaitWhile(link->channel_->ready, 0, kLookAgainNs);
  }
  if (link->channel_->ready.load(std::memory_order_acquire) == kChannelVersion) return link;
  const bool lives = !link->HasEnded();
  std::string why = link->channel_->error[0] ? link->channel_->error : lives ? "it does not get ready" : "it ended as it started";
  close(link->life_);
  munmap(memory, kStagingAt + kStagingBytes);
  return std::unexpected(std::move(why));
}

// While it starts, its end of the socket tells; then, what it holds.
bool DeviceLink::HasEnded() const {
  if (channel_->ready.load(std::memory_order_acquire) != 0) return channel_->HasDied();
  char byte = 0;
  return recv(life_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void DeviceLink::Quarantine(const char* why) {
  const char* none = nullptr;
  why_lost_.compare_exchange_strong(none, why, std::memory_order_acq_rel);
  lost_.store(true, std::memory_order_release);
}

// It sees the end of its socket.
void DeviceLink::Abandon() {
  if (life_ >= 0) close(life_);
  life_ = -1;
}

std::string DeviceLink::Why() const {
  const char* lost = why_lost_.load(std::memory_order_acquire);
  return channel_->error[0] ? channel_->error : lost ? lost : "";
}

bool DeviceLink::IsOurs() const { return static_cast<int>(syscall(SYS_getpid)) == process_; }

bool DeviceLink::Take(bool though_lost) {
  if ((is_lost() && !though_lost) || !IsOurs()) return false;
  const auto self = static_cast<uint32_t>(syscall(SYS_gettid));
  const double deadline = NowNs() + kLongestYieldNs;
  for (;;) {
    while (announced_.load(std::memory_order_seq_cst) != 0) {
      if (NowNs() > deadline) return false;
      syscall(SYS_sched_yield);
    }
    uint32_t nobody = 0;
    if (!holder_.compare_exchange_strong(nobody, self, std::memory_order_seq_cst)) return false;
    if (announced_.load(std::memory_order_seq_cst) == 0) break;  // else it may have seen nobody here, or waits for this
    Release();
  }
  BeginBatch();
  return true;
}

void DeviceLink::Release() { holder_.store(0, std::memory_order_seq_cst); }

bool DeviceLink::Seize() {
  uint32_t nobody = 0;
  if (!holder_.compare_exchange_strong(nobody, static_cast<uint32_t>(syscall(SYS_gettid)), std::memory_order_seq_cst)) return false;
  BeginBatch();
  return true;
}

bool DeviceLink::Fetch(uint32_t buffer, uint64_t offset, uint64_t staging, uint64_t bytes) {
  constexpr uint32_t kFetches = uint32_t{1} << 31;  // whose batches are apart from the others
  const uint32_t batch = kFetches | ++fetches_;
  uint32_t number = 0;
  const DeviceCommand command{.op = DeviceOp::kCopyOut, .buffer = buffer, .offset = offset, .staging = staging, .bytes = bytes};
  if (PostAs(batch, command, &number) && WaitAs(batch, number, NowNs() + kLongestFetchNs)) return true;
  Quarantine("results that were left on it cannot be copied back");
  return false;
}

bool DeviceLink::PostAs(uint32_t batch, DeviceCommand command, uint32_t* number) {
  constexpr double kLongestNs = 20e9;
  if (!WaitAs(batch, posted_ - kCommandsInFlight + 1, NowNs() + kLongestNs)) return false;
  command.batch = batch;
  channel_->commands[posted_ % kCommandsInFlight] = command;
  ++posted_;
  channel_->posted.store(posted_, std::memory_order_seq_cst);
  syscall(SYS_futex, &channel_->posted, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  if (number) *number = posted_;
  return !HasFailed(batch);
}

bool DeviceLink::WaitAs(uint32_t batch, uint32_t number, double deadline_ns) {
  const auto is_done = [&](uint32_t done) { return static_cast<int32_t>(done - number) >= 0; };
  const double spin_until = NowNs() + kSpinNs;
  double look_at = NowNs() + kLookAgainNs;
  for (;;) {
    const uint32_t done = channel_->done.load(std::memory_order_acquire);
    if (is_done(done)) return !HasFailed(batch) && !is_lost();
    if (is_lost()) return false;
    const double now = NowNs();
    if (now < spin_until) {
      _mm_pause();
      continue;
    }
    if (now > look_at) {
      look_at = now + kLookAgainNs;
      if (HasEnded()) return Quarantine("its process ended"), false;
      if (now > deadline_ns) return Quarantine("it did not answer in time"), false;
    }
    WaitWhile(channel_->done, done, kLookAgainNs);
  }
}

std::expected<uint32_t, std::string> DeviceLink::Load(const jit::Kernel& kernel) {
  if (kernels_ == kMostKernels) return std::unexpected(fmt::format("it holds {} kernels already", kMostKernels));
  const double deadline = NowNs() + kLongestLoadNs;
  while (!Take()) {
    if (is_lost()) return std::unexpected(Why());
    if (NowNs() > deadline) return std::unexpected("the device is busy");
    usleep(100);
  }
  DeviceCommand command{.op = DeviceOp::kLoad, .buffer = kernels_, .bytes = kernel.code.size()};
  const bool fits = kernel.code.size() <= kStagingBytes && kernel.symbol.size() < sizeof(command.text);
  if (fits) {
    std::memcpy(staging(), kernel.code.data(), kernel.code.size());
    std::memcpy(command.text, kernel.symbol.c_str(), kernel.symbol.size() + 1);
  }
  const bool loaded = fits && Post(command) && Finish(deadline);
  Release();
  if (!loaded) return std::unexpected(fits ? Why() : "the kernel is too large");
  return kernels_++;
}

}  // namespace tracelift::offload

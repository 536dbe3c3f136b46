// tracelift-device: drives a device for one traced program, until that ends or does not want it any more.
//
//   tracelift-device reference|gpu FOLDER MIB    with the descriptors of offload/device/channel.h; started by the program's tracelift. What
//                                                drivers make of kernels is kept in the folder, unless that is "".
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>

#include "offload/device/backend.h"

namespace tracelift::offload {
namespace {

constexpr int kUsage = 2;
constexpr uint64_t kBackupAlignment = 256;

void Wake(std::atomic<uint32_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

template <size_t kSize>
void SetText(char (&to)[kSize], std::string_view text) {
  const size_t length = std::min(text.size(), kSize - 1);
  std::memcpy(to, text.data(), length);
  to[length] = 0;
}

/// Ends this process with the program, whatever a driver is doing.
void EndWithProgram() {
  std::thread([] {
    char byte = 0;
    while (recv(kLifeFd, &byte, 1, 0) < 0 && errno == EINTR) {
    }
    _exit(0);
  }).detach();
}

std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeBackend(std::string_view device, std::span<uint8_t> staging, const KernelFolder& kernels) {
  if (device == "reference") return MakeReferenceBackend();
  if (device == "gpu") return MakeCudaBackend(staging, kernels);
  return std::unexpected(fmt::format("no device is called {}", device));
}

class Server {
 public:
  Server(DeviceChannel& channel, DeviceBackend& backend) : channel_(channel), backend_(backend) {}

  /// Commands are begun as they are posted, and done in their order, when their work is complete.
  [[noreturn]] void Run() {
    for (Pause pause;;) {
      bool is_new = BeginNext();
      while (EndNext()) is_new = true;
      if (is_new) {
        pause = {};
      } else if (ended_ == begun_) {
        AwaitCommand();
      } else {
        pause.Wait(channel_.posted, begun_);
      }
    }
  }

 private:
  struct UnderWay {
    uint32_t batch = 0;
    uint64_t work = 0;  // DeviceBackend::begun() when it and all before it were begun
    DeviceResult result;
  };

  /// Between looks at what nobody tells the end of: ever longer ones.
  class Pause {
   public:
    /// Shorter when the word has another value.
    void Wait(const std::atomic<uint32_t>& word, uint32_t value) {
      constexpr auto kSpin = std::chrono::microseconds(100);
      constexpr std::chrono::nanoseconds kShortest = std::chrono::microseconds(20), kLongest = std::chrono::milliseconds(1);
      constexpr int kShare = 16;  // of the time until now
      const std::chrono::nanoseconds waited = Clock::now() - since_;
      if (waited < kSpin) return __builtin_ia32_pause();
      const timespec nap{0, std::clamp(waited / kShare, kShortest, kLongest).count()};
      syscall(SYS_futex, &word, FUTEX_WAIT, value, &nap, nullptr, 0);
    }

   private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point since_ = Clock::now();
  };

  uint8_t* staging() const { return reinterpret_cast<uint8_t*>(&channel_) + kStagingAt; }

  void AwaitCommand() const {
    constexpr int kSpins = 20'000;
    for (int i = 0; i < kSpins && channel_.posted.load(std::memory_order_acquire) == begun_; ++i) __builtin_ia32_pause();
    syscall(SYS_futex, &channel_.posted, FUTEX_WAIT, begun_, nullptr, nullptr, 0);
  }

  bool BeginNext() {
    if (channel_.posted.load(std::memory_order_seq_cst) == begun_) return false;
    const DeviceCommand command = channel_.commands[begun_ % kCommandsInFlight];
    DeviceResult result;
    if (command.batch != failed_batch_) result = Do(command);
    if (!result) failed_batch_ = command.batch;
    under_way_[begun_ % kCommandsInFlight] = {command.batch, backend_.begun(), std::move(result)};
    ++begun_;
    return true;
  }

  bool EndNext() {
    if (ended_ == begun_) return false;
    const UnderWay& command = under_way_[ended_ % kCommandsInFlight];
    const DeviceAnswer<bool> complete = backend_.AreComplete(command.work);
    if (complete && !*complete) return false;
    if (!command.result) {
      Fail(command.batch, command.result.error());
    } else if (!complete) {
      Fail(command.batch, complete.error());
    }
    channel_.done.store(++ended_, std::memory_order_release);
    Wake(channel_.done);
    return true;
  }

  DeviceResult Do(const DeviceCommand& command) {
    const bool moves_nothing = command.op == DeviceOp::kReserve || command.op == DeviceOp::kFree;
    if (command.op != DeviceOp::kLoad && command.op != DeviceOp::kLaunch && command.buffer >= kMostBuffers) {
      return std::unexpected(DeviceError{DeviceStatus::kFailed, "a command for a buffer beyond the last"});
    }
    const bool fits = moves_nothing || (command.staging <= kStagingBytes && command.bytes <= kStagingBytes - command.staging);
    if (!fits) return std::unexpected(DeviceError{DeviceStatus::kFailed, "a command outside the staging area"});
    const std::span<uint8_t> staged = moves_nothing ? std::span<uint8_t>() : std::span(staging() + command.staging, command.bytes);
    switch (command.op) {
      case DeviceOp::kReserve: return Reserve(command.buffer, command.bytes);
      case DeviceOp::kFree: return backend_.Free(command.buffer);
      case DeviceOp::kCopyIn: return backend_.CopyIn(command.buffer, command.offset, staged);
      case DeviceOp::kCopyOut: return backend_.CopyOut(command.buffer, command.offset, staged);
      case DeviceOp::kLoad: return backend_.Load(command.buffer, staged, std::string(command.text, strnlen(command.text, sizeof(command.text))));
      case DeviceOp::kLaunch:
        if (command.bytes < sizeof(LaunchRequest) || command.staging % alignof(LaunchRequest) != 0) break;
        return Launch(*reinterpret_cast<LaunchRequest*>(staged.data()));
    }
    return std::unexpected(DeviceError{DeviceStatus::kFailed, "an unknown command"});
  }

  // The program's memory goes before backups that no launch needs now.
  DeviceResult Reserve(uint32_t buffer, uint64_t bytes) {
    DeviceResult result = backend_.Reserve(buffer, bytes);
    if (result || result.error().status != DeviceStatus::kOutOfMemory) return result;
    (void)backend_.Free(DeviceBackend::kBackup);
    return backend_.Reserve(buffer, bytes);
  }

  DeviceResult Launch(LaunchRequest& request) {
    request.memory_count = std::min<uint32_t>(request.memory_count, jit::kMaxMemories);
    if (DeviceResult kept = Keep(request); !kept) return kept;
    if (DeviceResult begun = backend_.Launch(request); !begun || !KeepsAnything(request)) return begun;
    if (DeviceResult ran = Complete(); !ran || request.flags == 0) return ran;
    return ForEachKept(request, [&](const LaunchRequest::Memory& memory, uint64_t at) {
      return backend_.CopyWithin(DeviceBackend::kBackup, at, memory.buffer, memory.kept_offset, memory.kept_bytes);
    });
  }

  static std::span<const LaunchRequest::Memory> MemoriesOf(const LaunchRequest& request) { return {request.memories.data(), request.memory_count}; }
  static bool KeepsAnything(const LaunchRequest& request) {
    return std::ranges::any_of(MemoriesOf(request), [](const LaunchRequest::Memory& memory) { return memory.kept_bytes > 0; });
  }

  DeviceResult Keep(const LaunchRequest& request) {
    if (!KeepsAnything(request)) return {};
    uint64_t bytes = 0;
    for (const LaunchRequest::Memory& memory : MemoriesOf(request)) bytes += BackupBytes(memory);
    if (DeviceResult reserved = backend_.Reserve(DeviceBackend::kBackup, bytes); !reserved) return reserved;
    return ForEachKept(request, [&](const LaunchRequest::Memory& memory, uint64_t at) {
      return backend_.CopyWithin(memory.buffer, memory.kept_offset, DeviceBackend::kBackup, at, memory.kept_bytes);
    });
  }

  static uint64_t BackupBytes(const LaunchRequest::Memory& memory) {
    return (memory.kept_bytes + kBackupAlignment - 1) / kBackupAlignment * kBackupAlignment;
  }

  /// `act` gets a memory with something to keep, and where in the backup that is.
  template <typename Act>
  static DeviceResult ForEachKept(const LaunchRequest& request, Act act) {
    uint64_t at = 0;
    for (const LaunchRequest::Memory& memory : MemoriesOf(request)) {
      if (memory.kept_bytes == 0) continue;
      if (DeviceResult result = act(memory, at); !result) return result;
      at += BackupBytes(memory);
    }
    return {};
  }

  /// Waits for all work that was begun. Commands before this one end meanwhile.
  DeviceResult Complete() {
    for (Pause pause;;) {
      while (EndNext()) continue;
      const DeviceAnswer<bool> complete = backend_.AreComplete(backend_.begun());
      if (!complete) return std::unexpected(complete.error());
      if (*complete) return {};
      pause.Wait(channel_.posted, channel_.posted.load(std::memory_order_relaxed));
    }
  }

  void Fail(uint32_t batch, const DeviceError& error) {
    failed_batch_ = batch;
    SetText(channel_.error, error.text);
    channel_.status = error.status;
    channel_.failed_batch.store(batch, std::memory_order_release);
  }

  DeviceChannel& channel_;
  DeviceBackend& backend_;
  uint32_t begun_ = 0, ended_ = 0;  // commands
  std::array<UnderWay, kCommandsInFlight> under_way_;
  uint32_t failed_batch_ = 0;  // in which a command is known to have failed, told of or not yet
};

int Main(const char* device, const KernelFolder& kernels) {
  struct stat file;
  if (fstat(kChannelFd, &file) != 0 || static_cast<uint64_t>(file.st_size) != kStagingAt + kStagingBytes || fcntl(kLifeFd, F_GETFD) < 0) {
    fmt::print(stderr, "tracelift-device: started by hand; tracelift starts it (tracelift run --devices {})\n", device);
    return kUsage;
  }
  setsid();
  (void)prctl(PR_SET_TIMERSLACK, 1);  // ns: pauses are as short as is asked for
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  EndWithProgram();
  void* memory = mmap(nullptr, kStagingAt + kStagingBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, kChannelFd, 0);
  if (memory == MAP_FAILED) return 1;
  auto& channel = *static_cast<DeviceChannel*>(memory);
  const auto backend = MakeBackend(device, {static_cast<uint8_t*>(memory) + kStagingAt, kStagingBytes}, kernels);
  if (!backend) {
    SetText(channel.error, backend.error());
    return 1;
  }
  pthread_mutexattr_t robust;
  pthread_mutexattr_init(&robust);
  pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&channel.life, &robust);
  pthread_mutex_lock(&channel.life);
  channel.pid = getpid();
  channel.memory_bytes = (*backend)->memory_bytes();
  SetText(channel.name, (*backend)->name());
  channel.ready.store(kChannelVersion, std::memory_order_release);
  Wake(channel.ready);
  Server(channel, **backend).Run();
}

}  // namespace
}  // namespace tracelift::offload

int main(int count, char** arguments) {
  if (count != 4) {
    fmt::print(stderr, "usage: tracelift-device DEVICE FOLDER MIB, by tracelift alone\n");
    return tracelift::offload::kUsage;
  }
  return tracelift::offload::Main(arguments[1], {arguments[2], atoi(arguments[3])});
}

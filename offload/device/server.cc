// tracelift-device: drives a device for one traced program, until that ends or does not want it any more.
//
//   tracelift-device reference|gpu      with the descriptors of offload/device/channel.h; started by the program's tracelift
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
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

std::expected<std::unique_ptr<DeviceBackend>, std::string> MakeBackend(std::string_view device, std::span<uint8_t> staging) {
  if (device == "reference") return MakeReferenceBackend();
  if (device == "gpu") return MakeCudaBackend(staging);
  return std::unexpected(fmt::format("no device is called {}", device));
}

class Server {
 public:
  Server(DeviceChannel& channel, DeviceBackend& backend) : channel_(channel), backend_(backend) {}

  [[noreturn]] void Run() {
    for (uint32_t done = 0;; ++done) {
      while (channel_.posted.load(std::memory_order_seq_cst) == done) Await(done);
      const DeviceCommand command = channel_.commands[done % kCommandsInFlight];
      if (command.batch != channel_.failed_batch.load(std::memory_order_relaxed)) {
        if (DeviceResult result = Do(command); !result) Fail(command, result.error());
      }
      channel_.done.store(done + 1, std::memory_order_release);
      Wake(channel_.done);
    }
  }

 private:
  uint8_t* staging() const { return reinterpret_cast<uint8_t*>(&channel_) + kStagingAt; }

  void Await(uint32_t posted) const {
    constexpr int kSpins = 20'000;
    for (int i = 0; i < kSpins && channel_.posted.load(std::memory_order_acquire) == posted; ++i) __builtin_ia32_pause();
    syscall(SYS_futex, &channel_.posted, FUTEX_WAIT, posted, nullptr, nullptr, 0);
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
    if (DeviceResult ran = backend_.Launch(request); !ran || request.flags == 0) return ran;
    return ForEachKept(request, [&](const LaunchRequest::Memory& memory, uint64_t at) {
      return backend_.CopyWithin(DeviceBackend::kBackup, at, memory.buffer, memory.kept_offset, memory.kept_bytes);
    });
  }

  DeviceResult Keep(const LaunchRequest& request) {
    uint64_t bytes = 0;
    for (const LaunchRequest::Memory& memory : std::span(request.memories.data(), request.memory_count)) bytes += BackupBytes(memory);
    if (bytes == 0) return {};
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
    for (const LaunchRequest::Memory& memory : std::span(request.memories.data(), request.memory_count)) {
      if (memory.kept_bytes == 0) continue;
      if (DeviceResult result = act(memory, at); !result) return result;
      at += BackupBytes(memory);
    }
    return {};
  }

  void Fail(const DeviceCommand& command, const DeviceError& error) {
    SetText(channel_.error, error.text);
    channel_.status = error.status;
    channel_.failed_batch.store(command.batch, std::memory_order_release);
  }

  DeviceChannel& channel_;
  DeviceBackend& backend_;
};

int Main(const char* device) {
  struct stat file;
  if (fstat(kChannelFd, &file) != 0 || static_cast<uint64_t>(file.st_size) != kStagingAt + kStagingBytes || fcntl(kLifeFd, F_GETFD) < 0) {
    fmt::print(stderr, "tracelift-device: started by hand; tracelift starts it (tracelift run --devices {})\n", device);
    return kUsage;
  }
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  EndWithProgram();
  void* memory = mmap(nullptr, kStagingAt + kStagingBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, kChannelFd, 0);
  if (memory == MAP_FAILED) return 1;
  auto& channel = *static_cast<DeviceChannel*>(memory);
  const auto backend = MakeBackend(device, {static_cast<uint8_t*>(memory) + kStagingAt, kStagingBytes});
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
  if (count != 2) {
    fmt::print(stderr, "usage: tracelift-device DEVICE, by tracelift alone\n");
    return tracelift::offload::kUsage;
  }
  return tracelift::offload::Main(arguments[1]);
}

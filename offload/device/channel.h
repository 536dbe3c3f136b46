// What a traced program and the process that runs a device for it share: commands, their results, and a staging area that all data
// pass through. A device process has its own address space, may crash or be killed, and takes its driver with it.
//
// The memory (a memfd) is mapped by both: this header at its begin, the staging area from kStagingAt on. The program writes a
// command, then counts `posted` up; the device process does commands in order and counts `done` up. Both counters are futexes.
// When a command fails, the others of its batch are skipped.
#pragma once

#include <linux/futex.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "jit/artifact.h"
#include "jit/kernel.h"
#include "jit/machine_state.h"

namespace tracelift::offload {

inline constexpr uint32_t kChannelVersion = 2;
inline constexpr uint64_t kStagingAt = 1 << 16;
inline constexpr uint64_t kStagingBytes = uint64_t{4} << 30;  // of address space; pages come with use
// The staging area: a launch's request, pieces of what is copied to the device, one while the one before is on its way, results, and
// at its end what is copied back later.
inline constexpr uint64_t kRequestAt = 0, kPiecesAt = 1 << 20, kPieceBytes = 8 << 20, kPieces = 4, kOutputAt = kPiecesAt + kPieces * kPieceBytes;
inline constexpr uint64_t kFetchBytes = 8 << 20, kFetchAt = kStagingBytes - kFetchBytes;
inline constexpr int kChannelFd = 3, kLifeFd = 4;             // of a device process: the memory; a socket that ends with the program
inline constexpr size_t kCommandsInFlight = 64;
inline constexpr uint32_t kMostBuffers = 128;  // of the program

/// A folder of an EntryStore (offload/cache), for what a device's driver makes of kernels.
struct KernelFolder {
  std::string path;  // "": there is none
  int most_mib = 0;  // of all that is kept there
};

enum class DeviceOp : uint32_t {
  kReserve,  // buffer: at least `bytes`; what it held is lost where it must grow
  kFree,     // buffer: holds nothing any more
  kCopyIn,   // staging -> buffer + offset
  kCopyOut,  // buffer + offset -> staging
  kLoad,     // kernel `buffer`: code of `bytes` at staging; of the symbol whose name is at the command's text
  kLaunch,   // the LaunchRequest at staging; done when its results are there
};

struct DeviceCommand {
  DeviceOp op{};
  uint32_t batch = 0;
  uint32_t buffer = 0;
  uint64_t offset = 0, staging = 0, bytes = 0;  // of the buffer, from the begin of the staging area
  char text[32] = {};
};

enum class DeviceStatus : uint32_t {
  kGood,
  kOutOfMemory,  // the device has not got so much; it works on
  kFailed,       // nothing more is to be expected of it
};

/// Of one launch, in the staging area. Addresses are the program's; the device process replaces them by those of its buffers.
struct LaunchRequest {
  struct Memory {
    uint32_t buffer = 0;
    uint64_t begin = 0;  // what the buffer's first byte is a copy of
    uint64_t kept_offset = 0, kept_bytes = 0;  // of the buffer: what must be as before when the launch raises a flag
  };
  uint32_t kernel = 0;  // that was loaded as this
  uint32_t memory_count = 0;
  int64_t blocks = 0;            // of jit::kBlockThreads
  int64_t first = 0, count = 1;  // jit::KernelLaunch
  int64_t extent[jit::kMaxGridDims] = {1, 1, 1};
  std::array<Memory, jit::kMaxMemories> memories{};
  uint32_t flags = 0;                                   // in: 0; out: kFlag*
  std::array<uint64_t, jit::kMaxReductions> partial{};  // in: neutral values; out: what threads came to
  jit::MachineState state;                              // at entry
};

static_assert(sizeof(LaunchRequest) <= kPiecesAt - kRequestAt);

struct DeviceChannel {
  // Robust, and held by the thread that does the commands for as long as it lives: when that ends, for whatever reason, the kernel marks
  // it. The traced program's own threads may not have the descriptors that would tell them.
  pthread_mutex_t life;
  bool HasDied() const { return (__atomic_load_n(&life.__data.__lock, __ATOMIC_ACQUIRE) & FUTEX_OWNER_DIED) != 0; }

  // Set by the device process before it says that it is ready.
  std::atomic<uint32_t> ready{0};  // kChannelVersion; a futex
  int32_t pid = 0;                 // of the device process
  uint64_t memory_bytes = 0;       // of the device
  char name[64] = {};

  alignas(64) std::atomic<uint32_t> posted{0};
  alignas(64) std::atomic<uint32_t> done{0};
  // Of the latest batch in which a command failed.
  std::atomic<uint32_t> failed_batch{0};
  DeviceStatus status{};
  char error[160] = {};
  DeviceCommand commands[kCommandsInFlight];
};
static_assert(sizeof(DeviceChannel) <= kStagingAt);
static_assert(std::atomic<uint32_t>::is_always_lock_free);

}  // namespace tracelift::offload

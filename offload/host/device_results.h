// What a slice on a device reads and writes, and what becomes of its results. Private to offload/host.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "jit/kernel.h"
#include "offload/device/device_copies.h"
#include "offload/host/written_bytes.h"

namespace tracelift::offload {

/// One of a kernel's memories (jit::Kernel::memory), in the program.
struct DeviceMemory {
  uint64_t begin = UINT64_MAX, end = 0;                  // what is needed on the device
  uint64_t written_begin = UINT64_MAX, written_end = 0;  // and, of that, changed there
  bool Empty() const { return begin >= end; }
  bool IsWritten() const { return written_begin < written_end; }
};

/// Of what a launch wrote, in the staging area.
class Images {
 public:
  /// `next`: where in the staging area the first one goes.
  explicit Images(uint64_t* next) : next_(*next) {}
  Images(const Images&) = delete;
  Images& operator=(const Images&) = delete;
  std::span<const MemoryImage> list() const { return {all_.data(), count_}; }
  /// Of [begin, end), which lies in the copy, once all commands are done. False when the device has failed.
  bool CopyOut(DeviceLink& device, const DeviceCopies::Wanted& copy, uint64_t begin, uint64_t end);

 private:
  uint64_t& next_;
  std::array<MemoryImage, size_t{2} * jit::kMaxMemories> all_{};
  size_t count_ = 0;
};

struct Results {
  uint64_t next = kOutputAt;
  Images all{&next}, edges{&next};  // of memories that come back, and beside what stays
  std::array<PageRange, jit::kMaxMemories> stays{};
  size_t stays_count = 0;
};

}  // namespace tracelift::offload

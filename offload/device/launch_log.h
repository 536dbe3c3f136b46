// What the device was sent and what it did, since its results began to stay there: enough to compute them again without it.
//
// Whoever reads the log in order into fresh memory at the same addresses has what the device has. That is done in a forked child of
// the program (Replay), by the code that does the same on the cores.
//
// Thread rule: whoever holds the link. Memory by the kernel's own call, one mapping, given back by Clear.
#pragma once

#include <cstddef>
#include <cstdint>

#include "jit/artifact.h"
#include "jit/machine_state.h"
#include "offload/device/page_set.h"

namespace tracelift::offload {

class LaunchLog {
 public:
  /// At most so many bytes are kept.
  explicit LaunchLog(uint64_t most_bytes) : most_bytes_(most_bytes) {}

  /// There is room for a launch, and `bytes` of memory besides.
  bool HasRoom(uint64_t bytes) const;
  /// The device was sent these pages. Where their bytes go; null when there is no room.
  uint8_t* Keep(PageRange pages);
  /// The device did `passes` passes from the state on. There is room.
  void Add(jit::ChunkFunction function, const jit::MachineState& state, int64_t passes);
  void Clear();
  bool IsEmpty() const { return used_ == 0; }

  /// In a child: maps fresh memory at all pages of the log, and does everything again. False when the memory cannot be had, or when
  /// a launch raises a flag, which it did not on the device.
  bool Replay() const;

 private:
  struct Record {
    uint64_t bytes = 0;                      // of the record with what follows it
    PageRange pages;                         // whose bytes follow it, or
    jit::ChunkFunction function = nullptr;   // a launch, whose state follows
    int64_t passes = 0;
  };

  uint8_t* Append(const Record& record, uint64_t bytes);
  template <typename Visit>
  bool ForEach(Visit visit) const;

  const uint64_t most_bytes_;
  uint8_t* memory_ = nullptr;
  uint64_t used_ = 0;
};

}  // namespace tracelift::offload

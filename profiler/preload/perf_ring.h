// One perf_event_open sampling event of one thread, with its ring of records. No descriptor stays open: the mapping
// alone keeps the event alive, so a program that closes or counts descriptors never meets it.
#pragma once

#include <cstdint>

#include "profiler/preload/sample_queue.h"
#include "profiler/preload_api.h"

namespace tracelift::preload {

enum class PerfAccess : uint8_t { kKernelToo, kUserOnly };

class PerfRing {
 public:
  /// 0, or a negative error number: -EACCES and -EPERM when refused, -ESRCH when the thread has ended.
  int OpenSamples(int tid, int hz, PerfAccess access);
  /// Registers and the top of the user stack with each sample.
  int OpenStacks(int tid, int hz, PerfAccess access);
  bool IsOpen() const { return base_ != nullptr; }
  void Close();

  void Drain(SampleQueue* queue, uint64_t* lost);
  int DrainStacks(TlStackSample* out, int max, uint64_t* lost);

 private:
  int Open(void* attributes, int tid, unsigned data_pages);
  void Copy(uint64_t position, void* out, uint64_t bytes) const;

  char* base_ = nullptr;
  uint64_t data_bytes_ = 0;
};

}  // namespace tracelift::preload

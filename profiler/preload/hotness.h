// Is something hot enough that opening the runtime may pay? A cheap look at the last samples: one page of a program's
// or library's code in which enough of them fall. Thread rule: watcher only.
#pragma once

#include <cstdint>

#include "profiler/preload/sample_queue.h"

namespace tracelift::preload {

class HotnessCheck {
 public:
  /// Looks at the samples that came since the last call. True when a hot page was found.
  bool Look(const SampleQueue& queue);
  uint64_t hot_page() const { return hot_page_; }

 private:
  bool IsProgramCode(uint64_t page);
  bool IsHot(uint64_t page, int filled) const;

  // The last user-mode samples' pages, a ring.
  static constexpr int kWindow = 128;
  static constexpr int kFewestSamples = 10;
  static constexpr int kShareDivisor = 4;  // a quarter of the window,
  static constexpr int kRecent = 16;       // or most of these: a phase of the program that has just begun
  uint64_t pages_[kWindow] = {};
  uint64_t count_ = 0;
  uint64_t looked_to_ = 0;

  // What /proc/self/maps said, so that a hot interpreter or JIT is not looked up again each time.
  struct Verdict {
    uint64_t page = 0;
    bool program_code = false;
  };
  static constexpr int kVerdicts = 64;
  Verdict verdicts_[kVerdicts];
  int next_verdict_ = 0;

  uint64_t hot_page_ = 0;
};

}  // namespace tracelift::preload

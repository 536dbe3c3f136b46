// The last samples of the process, oldest dropped first. Thread rule: used by the watcher only.
#pragma once

#include "profiler/preload_api.h"

namespace tracelift::preload {

class SampleQueue {
 public:
  void Push(const TlSample& sample) {
    if (end_ - begin_ == kCapacity) {
      ++begin_;
      ++lost_;
    }
    samples_[end_++ % kCapacity] = sample;
    ++pushed_;
  }
  int Pop(TlSample* out, int max) {
    int n = 0;
    for (; n < max && begin_ != end_; ++n) out[n] = samples_[begin_++ % kCapacity];
    return n;
  }
  uint64_t begin() const { return begin_; }
  uint64_t end() const { return end_; }
  const TlSample& At(uint64_t index) const { return samples_[index % kCapacity]; }
  uint64_t pushed() const { return pushed_; }
  uint64_t lost() const { return lost_; }

 private:
  static constexpr uint64_t kCapacity = 4096;
  TlSample samples_[kCapacity] = {};
  uint64_t begin_ = 0, end_ = 0;
  uint64_t pushed_ = 0, lost_ = 0;
};

}  // namespace tracelift::preload

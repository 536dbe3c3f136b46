// Samples all threads of the program by their CPU time, ours excepted: perf events, or thread timers where those are
// refused. Thread rule: everything here is called on the watcher, or before it starts.
#pragma once

#include <cstdint>

#include "profiler/preload/perf_ring.h"
#include "profiler/preload/sample_queue.h"
#include "profiler/preload_api.h"

namespace tracelift::preload {

enum class SampleSource : uint8_t { kNone, kPerf, kTimer };

// All fields start as zero: the object costs nothing until it is used.
class Sampler {
 public:
  /// False when neither source works.
  bool Start(int hz, bool force_timer);
  void Stop();
  /// Another rate, for all threads, from now on.
  void SetRate(int hz);
  int hz() const { return hz_; }

  /// Looks for threads that came or went: new ones are sampled, ours taken out of the C library's count.
  void FindThreads();
  /// Finds threads (now and then), and moves all samples to the queue.
  void Poll();
  SampleQueue& queue() { return queue_; }
  /// Opens stack sampling on the first call. Perf only.
  int DrainStacks(TlStackSample* out, int max);
  void Stats(TlSamplingStats* out) const;

 private:
  struct Thread {
    int tid = 0;
    int timer = 0;  // 0: none
    bool own = false;
    bool seen = false;
    PerfRing samples;
    PerfRing stacks;
  };

  static void OnThread(int tid, void* self);
  Thread* Find(int tid);
  void Open(Thread* thread);
  void Close(Thread* thread);
  void OpenStacks(Thread* thread);
  void DrainAll();
  void ExcludeOwnThreadsFromCount();

  static constexpr int kMostThreads = 512;
  static constexpr int kMostStackThreads = 8;
  Thread threads_[kMostThreads];
  int thread_count_ = 0;
  int hint_ = 0;  // the kernel lists threads in the same order each time
  int own_threads_excluded_ = 0;

  SampleSource source_ = SampleSource::kNone;
  PerfAccess access_ = PerfAccess::kKernelToo;
  int hz_ = 0;
  bool stacks_wanted_ = false;
  int last_error_ = 0;
  uint64_t next_find_ns_ = 0;
  SampleQueue queue_;
  uint64_t lost_ = 0;
  uint64_t cost_ns_ = 0;  // CPU time spent in here
};

}  // namespace tracelift::preload

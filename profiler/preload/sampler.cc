#include "profiler/preload/sampler.h"

#include <errno.h>
#include <stdlib.h>

#include <cstring>
#include <initializer_list>

#include "profiler/preload/hidden_thread.h"
#include "profiler/preload/raw_syscalls.h"
#include "profiler/preload/task_list.h"
#include "profiler/preload/timer_source.h"

namespace tracelift::preload {
namespace {

constexpr int kStackHz = 20;
constexpr uint64_t kFindEveryNs = 50'000'000;
constexpr uint64_t kFindCostFactor = 500;  // listing many threads takes long: at most 0.2% of the time
// What the kernel takes for one sample on the program's thread: timer interrupt, record, next timer. Measured as the
// slow-down of a busy loop on virtual machines, which pay for each timer: 7 us on one, 30 us on another.
constexpr uint64_t kKernelCostPerSampleNs = 20'000;

class CpuTimer {
 public:
  explicit CpuTimer(uint64_t* sum) : sum_(sum), start_(ClockNs(CLOCK_THREAD_CPUTIME_ID)) {}
  ~CpuTimer() { *sum_ += ClockNs(CLOCK_THREAD_CPUTIME_ID) - start_; }

 private:
  uint64_t* sum_;
  uint64_t start_;
};

}  // namespace

bool Sampler::Start(int hz, bool force_timer) {
  const CpuTimer timer(&cost_ns_);
  hz_ = hz;
  for (const PerfAccess access : {PerfAccess::kKernelToo, PerfAccess::kUserOnly}) {
    if (force_timer) break;
    source_ = SampleSource::kPerf;
    access_ = access;
    FindThreads();
    for (int i = 0; i < thread_count_; ++i) {
      if (threads_[i].samples.IsOpen()) return true;
    }
    Stop();
  }
  source_ = ClaimTimerSignal() != 0 ? SampleSource::kTimer : SampleSource::kNone;
  FindThreads();
  for (int i = 0; i < thread_count_; ++i) {
    if (threads_[i].timer != 0) return true;
  }
  Stop();
  source_ = SampleSource::kNone;
  return false;
}

void Sampler::Stop() {
  for (int i = 0; i < thread_count_; ++i) Close(&threads_[i]);
  thread_count_ = 0;
}

void Sampler::SetRate(int hz) {
  const CpuTimer timer(&cost_ns_);
  if (hz == hz_) return;
  hz_ = hz;
  DrainAll();
  for (int i = 0; i < thread_count_; ++i) {
    Thread& thread = threads_[i];
    if (thread.own) continue;
    thread.samples.Close();
    if (thread.timer != 0) StopThreadTimer(thread.timer);
    thread.timer = 0;
    Open(&thread);
  }
}

void Sampler::Poll() {
  const CpuTimer timer(&cost_ns_);
  if (ClockNs(CLOCK_MONOTONIC) >= next_find_ns_) FindThreads();
  DrainAll();
}

void Sampler::DrainAll() {
  for (int i = 0; i < thread_count_; ++i) threads_[i].samples.Drain(&queue_, &lost_);
  if (source_ == SampleSource::kTimer) DrainTimerRing(&queue_, &lost_);
}

void Sampler::FindThreads() {
  const uint64_t start = ClockNs(CLOCK_MONOTONIC);
  for (int i = 0; i < thread_count_; ++i) threads_[i].seen = false;
  hint_ = 0;
  if (!ForEachThread(&Sampler::OnThread, this)) return;
  int kept = 0;
  for (int i = 0; i < thread_count_; ++i) {
    if (!threads_[i].seen) {
      threads_[i].samples.Drain(&queue_, &lost_);
      Close(&threads_[i]);
      continue;
    }
    if (kept != i) threads_[kept] = threads_[i];
    ++kept;
  }
  thread_count_ = kept;
  ExcludeOwnThreadsFromCount();
  const uint64_t end = ClockNs(CLOCK_MONOTONIC);
  const uint64_t pause = (end - start) * kFindCostFactor;
  next_find_ns_ = end + (pause > kFindEveryNs ? pause : kFindEveryNs);
}

void Sampler::OnThread(int tid, void* self) {
  auto* sampler = static_cast<Sampler*>(self);
  if (Thread* known = sampler->Find(tid)) {
    known->seen = true;
    return;
  }
  if (sampler->thread_count_ == kMostThreads) return;
  Thread& thread = sampler->threads_[sampler->thread_count_++];
  thread = Thread{};
  thread.tid = tid;
  thread.seen = true;
  thread.own = IsOwnThread(tid);
  if (!thread.own) sampler->Open(&thread);
}

Sampler::Thread* Sampler::Find(int tid) {
  for (int n = 0; n < thread_count_; ++n) {
    int i = hint_ + n;
    if (i >= thread_count_) i -= thread_count_;
    if (threads_[i].tid != tid) continue;
    hint_ = i + 1 < thread_count_ ? i + 1 : 0;
    return &threads_[i];
  }
  return nullptr;
}

void Sampler::Open(Thread* thread) {
  if (source_ == SampleSource::kPerf) {
    last_error_ = thread->samples.OpenSamples(thread->tid, hz_, access_);
    if (stacks_wanted_) OpenStacks(thread);
  } else if (source_ == SampleSource::kTimer) {
    last_error_ = StartThreadTimer(thread->tid, hz_, &thread->timer);
  }
}

void Sampler::Close(Thread* thread) {
  thread->samples.Close();
  thread->stacks.Close();
  if (thread->timer != 0) StopThreadTimer(thread->timer);
  thread->timer = 0;
}

void Sampler::OpenStacks(Thread* thread) {
  if (thread->stacks.IsOpen() || thread->own) return;
  int open = 0;
  for (int i = 0; i < thread_count_; ++i) open += threads_[i].stacks.IsOpen() ? 1 : 0;
  if (open < kMostStackThreads) thread->stacks.OpenStacks(thread->tid, kStackHz, access_);
}

int Sampler::DrainStacks(TlStackSample* out, int max) {
  if (source_ != SampleSource::kPerf) return 0;
  const CpuTimer timer(&cost_ns_);
  if (!stacks_wanted_) {
    stacks_wanted_ = true;
    for (int i = 0; i < thread_count_; ++i) OpenStacks(&threads_[i]);
  }
  int n = 0;
  for (int i = 0; i < thread_count_ && n < max; ++i) n += threads_[i].stacks.DrainStacks(out + n, max - n, &lost_);
  return n;
}

// The process ends by itself when its last thread leaves through pthread_exit. The C library counts ours too, so
// they are taken out of its count: else a program whose main thread leaves first would never end.
void Sampler::ExcludeOwnThreadsFromCount() {
  int own = 0;
  for (int i = 0; i < thread_count_; ++i) own += threads_[i].own && !IsHiddenThread(threads_[i].tid) ? 1 : 0;
  if (own == own_threads_excluded_) return;
  const bool last = ExcludeFromThreadCount(own - own_threads_excluded_) == 0;
  own_threads_excluded_ = own;
  // Its last thread left between our thread's start and now, and saw ours: what it would have done is left to us.
  if (last) exit(0);
}

void Sampler::Stats(TlSamplingStats* out) const {
  memset(out, 0, sizeof(*out));
  out->samples = queue_.pushed();
  out->lost = lost_ + queue_.lost();
  out->cost_ns = cost_ns_ + queue_.pushed() * kKernelCostPerSampleNs;
  out->period_ns = hz_ > 0 ? 1'000'000'000u / static_cast<uint32_t>(hz_) : 0;
  const char* name = source_ == SampleSource::kPerf    ? "perf cpu-clock"
                     : source_ == SampleSource::kTimer ? "timer"
                                                       : "none";
  strcpy(out->source, name);
}

}  // namespace tracelift::preload

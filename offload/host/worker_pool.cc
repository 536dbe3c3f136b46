#include "offload/host/worker_pool.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "offload/host/float_scope.h"
#include "offload/host/signals.h"

namespace tracelift::offload {
namespace {

// More chunks than threads, so that a helper that comes late or a chunk that takes longer evens out.
constexpr int64_t kChunksPerThread = 8;
constexpr uint64_t kAheadOfHelpers = 1;  // chunks of a search
constexpr uint64_t kIndexBits = 32;
constexpr uint64_t kIndexMask = (uint64_t{1} << kIndexBits) - 1;
// The coordinator looks for the next slice this long before it sleeps: slices follow each other within microseconds.
constexpr int64_t kSpinNs = 60'000;
constexpr int64_t kShortestWaitNs = 400'000;
constexpr int64_t kLongestChunk = 3;  // as often as ours
constexpr int kLongestPenalty = 256;

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

}  // namespace

WorkerPool::WorkerPool(int threads)
    : threads_(std::max(1, threads)),
      shares_(new Share[static_cast<size_t>(threads_)]),
      copies_(new WriteCopy[static_cast<size_t>(threads_)]),
      logs_(new WriteCopy[static_cast<size_t>(threads_)]),
      results_(new OwnResult[static_cast<size_t>(threads_)]),
      process_(getpid()) {}

WorkerPool* WorkerPool::CreateForever(int threads) {
  auto* pool = new WorkerPool(threads);
  // Pages come with use.
  const uint64_t bytes = static_cast<uint64_t>(pool->threads_) * kScratchBytes;
  void* scratch = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  for (int i = 0; i < pool->threads_ && scratch != MAP_FAILED; ++i) {
    jit::ChunkResult& result = pool->results_[static_cast<size_t>(i)].result;
    result.scratch = static_cast<std::byte*>(scratch) + static_cast<uint64_t>(i) * kScratchBytes;
    result.scratch_bytes = kScratchBytes;
  }
  if (pool->threads_ == 1) return pool;
  pool->LeaveArenaAtExit();
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  const SignalMask mask = BlockAllSignals();  // inherited by the coordinator and by every TBB worker it starts
  pthread_create(
      &thread, &attributes,
      [](void* self) -> void* {
        static_cast<WorkerPool*>(self)->CoordinatorLoop();
        return nullptr;
      },
      pool);
  RestoreSignals(mask);
  pthread_attr_destroy(&attributes);
  return pool;
}

int64_t WorkerPool::ChunkPasses(int64_t passes, int64_t group, int64_t most) const {
  const int64_t wanted = std::min<int64_t>(passes, threads_ * kChunksPerThread);
  const int64_t fewest = (passes + kMostChunks - 1) / kMostChunks;
  const int64_t chunk = std::max(fewest, std::min((passes + wanted - 1) / wanted, most));
  return (chunk + group - 1) / group * group;
}

int64_t WorkerPool::Outcome::FirstFlagged() const {
  size_t word = 0;
  while (word < flagged.size() && flagged[word] == 0) ++word;
  return static_cast<int64_t>(64 * word) + (word < flagged.size() ? std::countr_zero(flagged[word]) : 0);
}

bool WorkerPool::Run(const Job& job, Outcome* outcome) {
  if (taken_.exchange(true, std::memory_order_acquire)) return false;
  const auto chunks = job.parts > 0 ? std::min<uint64_t>(static_cast<uint64_t>(job.parts), kMostChunks)
                                    : static_cast<uint64_t>((job.passes + job.chunk_passes - 1) / job.chunk_passes);

  // Close the old generation, write the fields, then open the new one: the release pairs with the claims' acquire.
  const std::span<Share> shares(shares_.get(), static_cast<size_t>(threads_));
  for (Share& share : shares) share.ticket.store(kIndexMask, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  job_.store(&job, std::memory_order_relaxed);
  chunks_.store(chunks, std::memory_order_relaxed);
  shared_by_.store(job.stops_at_flag ? 1 : shares.size(), std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  flags_.store(0, std::memory_order_relaxed);
  sticky_.store(0, std::memory_order_relaxed);
  for (auto& bits : flagged_) bits.store(0, std::memory_order_relaxed);
  StartReductions(job);
  if (threads_ == 1 || chunks == 1 || jobs_alone_ > 0) {
    if (jobs_alone_ > 0) --jobs_alone_;
    RunAlone(job, chunks);
  } else {
    RunTogether(job, chunks);
  }
  outcome->flags = flags_.load(std::memory_order_relaxed);
  outcome->mxcsr_sticky = sticky_.load(std::memory_order_relaxed);
  for (size_t i = 0; i < flagged_.size(); ++i) outcome->flagged[i] = flagged_[i].load(std::memory_order_relaxed);
  CombineReductions(job, outcome);
  taken_.store(false, std::memory_order_release);
  return true;
}

void WorkerPool::StartReductions(const Job& job) {
  for (int thread = 0; thread < threads_ && !job.reductions.empty(); ++thread) {
    auto& partial = results_[static_cast<size_t>(thread)].result.partial;
    for (size_t i = 0; i < job.reductions.size(); ++i) partial[i] = jit::NeutralValue(job.reductions[i]);
  }
}

void WorkerPool::CombineReductions(const Job& job, Outcome* outcome) const {
  for (size_t i = 0; i < job.reductions.size(); ++i) {
    outcome->reduced[i] = jit::NeutralValue(job.reductions[i]);
    for (int thread = 0; thread < threads_; ++thread) {
      const uint64_t part = results_[static_cast<size_t>(thread)].result.partial[i];
      outcome->reduced[i] = jit::Combine(job.reductions[i], outcome->reduced[i], part);
    }
  }
}

void WorkerPool::RunAlone(const Job& job, uint64_t chunks) {
  for (uint64_t index = 0; index < chunks; ++index) {
    if (RunChunk(job, 0, index) && job.stops_at_flag) return;
  }
}

void WorkerPool::RunTogether(const Job& job, uint64_t chunks) {
  // A search that is over at once wakes nobody.
  uint64_t done = 0;
  for (; job.stops_at_flag && done < kAheadOfHelpers; ++done) {
    if (RunChunk(job, 0, done)) return;
  }
  done_.store(done, std::memory_order_relaxed);
  const std::span<Share> shares(shares_.get(), static_cast<size_t>(threads_));
  const uint64_t generation = (generation_.load(std::memory_order_relaxed) + 1) & kIndexMask;
  for (size_t i = 0; i < shares.size(); ++i) {
    shares[i].ticket.store(generation << kIndexBits | std::max(done, FirstChunk(i, chunks)), std::memory_order_release);
  }
  generation_.store(generation, std::memory_order_seq_cst);

  wake_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) != 0) {
    syscall(SYS_futex, &wake_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
  const int64_t start = NowNs();
  const int64_t own = std::max<int64_t>(1, ClaimChunks(0));
  // A helper needs about as long for its last chunk as we did for one of ours; data can make it a few times longer.
  if (WaitUntilDone(chunks, kShortestWaitNs + kLongestChunk * (NowNs() - start) / own)) {
    penalty_ = std::max(1, penalty_ - 1);
  } else {
    jobs_alone_ = penalty_;
    penalty_ = std::min(penalty_ * 2, kLongestPenalty);
  }
}

// In the program's float environment. True when it set a flag.
bool WorkerPool::RunChunk(const Job& job, int thread, uint64_t index) {
  const int64_t first = job.parts > 0 ? 0 : static_cast<int64_t>(index) * job.chunk_passes;
  const int64_t count = job.parts > 0 ? job.passes : std::min(job.chunk_passes, job.passes - first);
  WriteCopy& own = copies_[static_cast<size_t>(thread)];
  const bool undoes = job.writes && !job.before;
  jit::ChunkResult& result = results_[static_cast<size_t>(thread)].result;
  result.flags = 0;
  result.part = static_cast<uint32_t>(index);
  result.parts = static_cast<uint32_t>(chunks_.load(std::memory_order_relaxed));
  result.lead = job.lead;
  result.leads = job.leads ? 1 : 0;
  WriteCopy& log = logs_[static_cast<size_t>(thread)];
  if ((undoes && !own.Reserve(*job.writes)) || (job.log && !log.Reserve(job.log->bytes()))) {
    result.flags = jit::kFlagNaN;  // for the original to do, like one with a NaN
  } else {
    if (undoes) own.Save(*job.writes, first, first, count);
    if (job.before) job.before->Save(*job.writes, 0, first, count);
    if (job.log) {
      result.log = reinterpret_cast<std::byte*>(log.memory());
      result.log_layout = job.log->layout();
      result.log_first = first;
    }
    jit::MachineState* out = first + count == job.passes ? job.out : nullptr;
    if (job.states && first + count != job.passes) {
      uint8_t* own_state = job.states + index * job.state_bytes;
      std::memcpy(own_state, job.in, job.state_bytes);  // what the code does not set stays
      out = reinterpret_cast<jit::MachineState*>(own_state);
    }
    uint32_t raised = 0;
    {
      const FloatScope scope(job.mxcsr);
      job.function(job.in, out, first, count, &result);
      raised = scope.raised();
    }
    if (raised) sticky_.fetch_or(raised, std::memory_order_relaxed);
    if (undoes && result.flags) own.Restore(*job.writes, first, first, count);
    if (job.undoes_by_log && result.flags) {
      result.undoes = 1;
      job.function(job.in, nullptr, first, count, &result);
      result.undoes = 0;
    }
  }
  if (!result.flags) return false;
  flags_.fetch_or(result.flags, std::memory_order_relaxed);
  flagged_[index / 64].fetch_or(uint64_t{1} << index % 64, std::memory_order_relaxed);
  return true;
}

// What was not begun yet is done: nobody asks for it. All of it lies in the first share.
void WorkerPool::EndClaims(uint64_t generation) {
  const uint64_t chunks = chunks_.load(std::memory_order_relaxed);
  std::atomic<uint64_t>& next = shares_[0].ticket;
  uint64_t ticket = next.load(std::memory_order_relaxed);
  while ((ticket & kIndexMask) < chunks) {
    if (!next.compare_exchange_weak(ticket, generation << kIndexBits | chunks, std::memory_order_relaxed)) continue;
    done_.fetch_add(chunks - (ticket & kIndexMask), std::memory_order_release);
    return;
  }
}

// False when a helper kept us waiting as only a descheduled one does.
bool WorkerPool::WaitUntilDone(uint64_t chunks, int64_t longest_ns) {
  const int64_t start = NowNs();
  bool prompt = true;
  for (int spins = 0; done_.load(std::memory_order_acquire) < chunks; ++spins) {
    if (prompt) {
      _mm_pause();
      if (spins % 64 == 63) prompt = NowNs() - start < longest_ns;
    } else {
      const timespec nap{0, 50'000};
      syscall(SYS_nanosleep, &nap, nullptr);
    }
  }
  return prompt;
}

uint64_t WorkerPool::FirstChunk(size_t share, uint64_t chunks) const {
  const uint64_t shares = shared_by_.load(std::memory_order_relaxed);
  return std::min<uint64_t>(share, shares) * chunks / shares;
}

// How many chunks it did.
int64_t WorkerPool::ClaimChunks(int thread) {
  int64_t done = 0;
  const uint64_t generation = generation_.load(std::memory_order_acquire);
  for (int i = 0; i < threads_; ++i) {
    const auto share = static_cast<size_t>((thread + i) % threads_);
    while (ClaimOne(generation, thread, share)) ++done;
  }
  return done;
}

bool WorkerPool::ClaimOne(uint64_t generation, int thread, size_t share) {
  std::atomic<uint64_t>& next = shares_[share].ticket;
  uint64_t ticket = next.load(std::memory_order_acquire);
  uint64_t index = 0;
  do {
    index = ticket & kIndexMask;
    if ((ticket >> kIndexBits) != generation) return false;
    if (index >= FirstChunk(share + 1, chunks_.load(std::memory_order_relaxed))) return false;
  } while (!next.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire));

  // Claimed: the job stays until this chunk is done.
  const Job& job = *job_.load(std::memory_order_relaxed);
  if (RunChunk(job, thread, index) && job.stops_at_flag) EndClaims(generation);
  done_.fetch_add(1, std::memory_order_release);
  return true;
}

// An exit handler: no more help from here on. Threads of the program that still run do their work alone.
void WorkerPool::LeaveArena() {
  if (getpid() != process_) return;  // a forked child: no coordinator
  exiting_ = true;
  constexpr int64_t kLongestNs = 1'000'000'000;
  for (const int64_t start = NowNs(); in_arena_ && NowNs() - start < kLongestNs;) {
    const timespec nap{0, 50'000};
    syscall(SYS_nanosleep, &nap, nullptr);
  }
}

void WorkerPool::LeaveArenaAtExit() {
  on_exit([](int, void* self) { static_cast<WorkerPool*>(self)->LeaveArena(); }, this);
}

void WorkerPool::CoordinatorLoop() {
  const int helpers = threads_ - 1;
  tbb::task_arena arena(helpers, 1);
  const auto unless_exiting = [&](const auto& use_arena) {
    in_arena_ = true;
    if (!exiting_) use_arena();
    in_arena_ = false;
  };
  const auto help_together = [&] {
    unless_exiting([&] {
      arena.execute([&] {
        tbb::parallel_for(
            tbb::blocked_range<int>(0, helpers, 1),
            [this](const tbb::blocked_range<int>&) { ClaimChunks(1 + tbb::this_task_arena::current_thread_index()); },
            tbb::simple_partitioner());
      });
    });
  };
  if (helpers > 1) {
    // Exit handlers run in reverse order, and ours must come before those of oneTBB, which makes some when it is used first. The
    // program may end at any time meanwhile.
    unless_exiting([&] { arena.initialize(); });
    LeaveArenaAtExit();
    help_together();
    LeaveArenaAtExit();
  }
  uint32_t seen = 0;
  for (;;) {
    const uint32_t now = wake_.load(std::memory_order_acquire);
    if (now != seen) {
      seen = now;
      if (helpers == 1) {
        ClaimChunks(1);
      } else {
        help_together();
      }
      const int64_t deadline = NowNs() + kSpinNs;
      while (wake_.load(std::memory_order_acquire) == seen && NowNs() < deadline) {
        for (int i = 0; i < 32; ++i) _mm_pause();
      }
      continue;
    }
    sleeping_.store(1, std::memory_order_seq_cst);
    syscall(SYS_futex, &wake_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    sleeping_.store(0, std::memory_order_seq_cst);
  }
}

}  // namespace tracelift::offload

// The cores of this machine as helpers of a program thread.
//
// Run() splits the passes of a loop into chunks, as many shares of them as threads. Each thread, the caller first of
// all, claims the chunks of its own share and then those left of the others': what one core wrote last time it reads
// again from its own cache, and the caller never waits for a helper to *start*. With none it does all chunks itself, so a
// starved or stuck helper can cost speed, never progress. Helpers are a coordinator thread and, from three
// threads on, oneTBB workers under it; all of them block all signals. Thread rule: Run from any thread, one at a time
// (others get false); it does not allocate, lock or call libc.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "jit/artifact.h"
#include "offload/host/undo_log.h"
#include "offload/host/written_bytes.h"

namespace tracelift::offload {

class WorkerPool {
 public:
  /// `threads`: how many threads work on a job, the caller included (>= 1).
  explicit WorkerPool(int threads);
  ~WorkerPool() = delete;  // threads of a traced process are never joined
  static WorkerPool* CreateForever(int threads);

  int threads() const { return threads_; }

  static constexpr int64_t kMostChunks = 4096;
  static constexpr uint64_t kScratchBytes = 1 << 20;  // of each thread: what fits into its own cache

  /// How many passes a chunk should have: a multiple of `group`, and not more than `most` unless that makes too many.
  int64_t ChunkPasses(int64_t passes, int64_t group, int64_t most) const;

  struct Job {
    jit::ChunkFunction function = nullptr;
    const jit::MachineState* in = nullptr;
    jit::MachineState* out = nullptr;   // state after the last pass; may be null
    int64_t passes = 0;
    int64_t chunk_passes = 1;
    uint32_t mxcsr = 0x1f80;
    std::span<const jit::Reduction> reductions;
    int64_t lead = 0;    // iterations ahead of the rest of each pass (jit::ChunkResult)
    bool leads = false;  // chunks do these, else the rest
    int parts = 0;  // above 0 a chunk is not some of the passes, but a share of all of them (jit::Artifact::parts)
    // Unless null, what each chunk writes is kept ahead of it: all in `before`, with a plan of all passes; or, when that
    // is null, with a plan of one chunk, just long enough to undo a chunk that sets a flag.
    const WritePlan* writes = nullptr;
    const WriteCopy* before = nullptr;
    // Chunks are begun in order, and none behind one that sets a flag: where a search stops. All before the first that did are
    // done then.
    bool stops_at_flag = false;
    uint8_t* states = nullptr;     // unless null, each chunk but the last leaves the state after it here, `state_bytes` apart
    size_t state_bytes = 0;
    const UndoLog* log = nullptr;  // unless null, where chunks keep what they overwrite themselves,
    bool undoes_by_log = false;    // which one that sets a flag then puts back
  };
  struct Outcome {
    uint32_t flags = 0;          // jit::kFlag*
    uint32_t mxcsr_sticky = 0;   // exception flags raised
    std::array<uint64_t, jit::kMaxReductions> reduced{};  // by all chunks together, by index of Job::reductions
    std::array<uint64_t, kMostChunks / 64> flagged{};  // bit i: chunk i set a flag
    int64_t FirstFlagged() const;                      // kMostChunks: none did
  };
  /// False when another thread's job is under way.
  bool Run(const Job& job, Outcome* outcome);

 private:
  void CoordinatorLoop();
  void LeaveArena();
  void LeaveArenaAtExit();
  int64_t ClaimChunks(int thread);
  bool ClaimOne(uint64_t generation, int thread, size_t share);
  uint64_t FirstChunk(size_t share, uint64_t chunks) const;
  bool WaitUntilDone(uint64_t chunks, int64_t longest_ns);
  void RunAlone(const Job& job, uint64_t chunks);
  void RunTogether(const Job& job, uint64_t chunks);
  void EndClaims(uint64_t generation);
  void StartReductions(const Job& job);
  void CombineReductions(const Job& job, Outcome* outcome) const;
  bool RunChunk(const Job& job, int thread, uint64_t index);

  const int threads_;
  std::atomic<bool> taken_{false};
  // The job under way. Fields may be read while the next job is being written; a claim (compare-exchange on a share's
  // ticket, which carries the generation) succeeds only when they belong to that generation.
  struct alignas(64) Share {
    std::atomic<uint64_t> ticket{0};  // generation << 32 | next chunk
  };
  const std::unique_ptr<Share[]> shares_;  // one for each thread
  const std::unique_ptr<WriteCopy[]> copies_;  // likewise: of the chunk it is at
  const std::unique_ptr<WriteCopy[]> logs_;    // likewise, of chunks that keep it themselves
  struct alignas(64) OwnResult {
    jit::ChunkResult result;
  };
  const std::unique_ptr<OwnResult[]> results_;  // likewise: of all its chunks of the job, but for the flags
  std::atomic<uint64_t> generation_{0};
  std::atomic<uint64_t> chunks_{0};
  std::atomic<uint64_t> shared_by_{1};  // the first so many shares hold all chunks
  std::atomic<const Job*> job_{nullptr};
  std::atomic<uint64_t> done_{0};
  std::array<std::atomic<uint64_t>, kMostChunks / 64> flagged_{};
  std::atomic<uint32_t> flags_{0}, sticky_{0};
  std::atomic<uint32_t> wake_{0};     // futex of the coordinator: number of jobs posted
  std::atomic<uint32_t> sleeping_{0};
  // When the process exits, oneTBB's statics are destroyed under whoever is still inside; sequentially consistent.
  std::atomic<bool> exiting_{false}, in_arena_{false};
  const int process_;
  // Guarded by taken_: a busy machine deschedules helpers in the middle of a chunk. After that, jobs are done alone
  // for a while, twice as long each time it happens again.
  int jobs_alone_ = 0, penalty_ = 1;
};

}  // namespace tracelift::offload

// One loop of the program that tracelift has taken over, and what is known about running it.
//
// The session thread creates a Region, publishes variants and reads statistics; program threads enter it through
// Dispatch (dispatch.cc). `busy` is held by the one program thread that is inside; all others run the original.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "jit/artifact.h"
#include "jit/compiler.h"
#include "jit/region_image.h"
#include "offload/device/device_copies.h"
#include "offload/host/losses.h"
#include "offload/host/undo_log.h"
#include "offload/host/worker_pool.h"
#include "offload/host/written_bytes.h"

namespace tracelift::offload {

enum class VerifyMode : uint8_t { kOff, kFirst, kAlways };

enum class RegionMode : uint32_t {
  kCapture,   // wait for one arrival, keep its registers
  kCaptured,  // done; the session takes over
  kRun,       // run the published variant
  kHome,      // leave it to the original
};

/// Most recent timings, ns per pass. Written by the thread that holds `busy`, read by the session (values may be a
/// mix of old and new ones, which is fine for statistics).
class TimingRing {
 public:
  void Add(double ns) {
    values_[count_.load(std::memory_order_relaxed) % kSize].store(ns, std::memory_order_relaxed);
    count_.fetch_add(1, std::memory_order_release);
  }
  void Clear() { count_.store(0, std::memory_order_release); }
  uint64_t count() const { return count_.load(std::memory_order_acquire); }
  std::vector<double> Sorted() const;
  double Median() const;  // 0: nothing measured

 private:
  static constexpr size_t kSize = 64;
  std::array<std::atomic<double>, kSize> values_{};
  std::atomic<uint64_t> count_{0};
};

struct Variant {
  jit::Artifact artifact;
  jit::ChunkFunction function = nullptr;
  uint32_t kernel = 0;             // of an artifact with a kernel: its number on the device
  mutable int trusted_slices = 0;  // that were verified; guarded by busy of the region
  mutable double last_pass_ns = 0;       // of its latest slice, in the unit of Region::variant_timing; 0: none yet; guarded by busy
  mutable TimingRing slices = {};  // of single slices, what a pass took, in the unit of Region::variant_timing
};

/// What passes of about so many iterations of inner loops cost, latest estimates. Not in proportion to the iterations: short
/// inner loops cost by the pass, and large strides by the cache lines that they share.
struct PassCosts {
  double native_ns = 0;        // of the original, a pass; 0: not measured
  double variant_ns = 0;       // of a variant, overhead included
  double pass_iterations = 0;  // both are of passes with so many
  uint64_t entries_seen = 0;
};

struct Region {
  // Constant after construction.
  std::shared_ptr<const jit::FunctionCode> code;
  jit::LoopId loop{};
  jit::LoopPreview preview;
  WorkerPool* pool = nullptr;
  DeviceCopies* device = nullptr;      // of variants with a kernel
  bool only_on_device = false;         // asked for: it stays there though it takes longer
  VerifyMode verify = VerifyMode::kFirst;
  std::unique_ptr<jit::RegionImage> image;
  std::unique_ptr<jit::RegionImage> ahead;  // the same, patched ahead of the loop; made later, before its patch, and kept

  // Published by the session (release), read on entry (acquire).
  std::atomic<RegionMode> mode{RegionMode::kCapture};
  std::atomic<const Variant*> variant{nullptr};
  std::atomic<const Variant*> rival{nullptr};  // takes turns with it; null: none
  std::atomic<const Variant*> on_cores{nullptr};  // for sizes at which the variant, which needs a device, loses; null: none

  // Guarded by busy.
  std::atomic<bool> busy{false};
  jit::MachineState captured;      // valid in kCaptured
  jit::MachineState state, after;  // scratch of one entry
  jit::Footprint footprint;        // scratch of one slice
  WritePlan writes;                // of the slice under way, when they are kept
  WriteCopy before, variant_result;
  WriteCopy chunk_states;          // one after each of its chunks, where the code cannot seek
  UndoLog log;                     // of its chunks, when they keep what they overwrite themselves
  uint64_t kept_per_pass = 0;      // bytes; 0: nothing is kept
  PassCosts costs;                 // of passes as in the latest entry
  std::array<PassCosts, 48> costs_of_others{};  // by powers of two of their iterations
  double first_iterations = 0;     // those of the first entry: what timings are told for
  double unverified_ns = 0;        // of work that the original did because verifying would have cost too much,
  double unverified_left_ns = 0;   // then that of the latest such entry, if it went on to its end,
  double unverified_since_ns = 0;  // from this time on
  double probe_again_ns = 0;       // within an entry, measure the original again from this time on
  int failed_captures = 0;
  int fruitless_entries = 0;       // in a row, too small or for other values
  LossesBySize losses;
  LossesBySize losses_on_cores;    // of on_cores
  const Variant* entered = nullptr;   // at the last entry
  const Variant* last_run = nullptr;  // ran the last slice alone, and
  double last_run_ns = 0;             // what a pass took
  int turn = 0;                       // slices in a row that it ran,
  double turn_before_ns = 0;          // and what a pass of the last one took before that
  /// Of whichever of `variant` and `on_cores` does not run.
  struct Estimates {
    PassCosts costs;
    std::array<PassCosts, 48> costs_of_others{};
    double probe_again_ns = 0;
    const Variant* entered = nullptr;
  } other_estimates;
  void SwapEstimates() {
    std::swap(costs, other_estimates.costs);
    std::swap(costs_of_others, other_estimates.costs_of_others);
    std::swap(probe_again_ns, other_estimates.probe_again_ns);
    std::swap(entered, other_estimates.entered);
  }
  void ForgiveLosses() {
    losses.Forgive();
    losses_on_cores.Forgive();
  }

  // Statistics: atomics without order, read by the session for the report.
  std::atomic<uint64_t> executions{0}, executions_on_cores{0}, declines{0}, passes{0}, verified{0}, mismatches{0};
  std::array<std::atomic<uint64_t>, 64> decline_reasons{};  // by jit::RejectionReason
  std::atomic<uint64_t> variant_time_ns{0}, native_time_ns{0}, native_passes{0}, time_saved_ns{0};
  std::atomic<double> first_run_ns{0};  // CLOCK_MONOTONIC, when a variant had run for the first time; 0: none has
  std::atomic<int64_t> gain_ns{0};  // what the original would have taken for what entries did, less what they took
  std::atomic<uint32_t> trapping_mxcsr{0};  // of the last entry declined for it
  std::atomic<uint64_t> failed_guards{0};  // bit i: guard i of the variant did not hold at some entry
  std::atomic<uint64_t> conflict_instruction{0};  // of the last kDependentIterations or kUnmappedMemory
  std::atomic<double> distance{0};  // of relaxed results from the original's, the largest seen while verifying
  TimingRing native_timing, variant_timing;
  TimingRing rival_ratio;  // of a pass of the rival to one of the variant, in slices next to each other

  // The bytes of the last execution, for data-flow edges; copied under busy.
  static constexpr size_t kMaxRanges = 24;
  std::array<jit::ByteRange, kMaxRanges> last_ranges{};
  size_t last_range_count = 0;
  uint64_t last_end_ns = 0;

  void CountDecline(jit::RejectionReason reason) {
    declines.fetch_add(1, std::memory_order_relaxed);
    decline_reasons[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
  }
};

/// It lies in the entry that was declined, not in the loop: another one may be large enough, or have the values.
constexpr bool LiesInTheEntry(jit::RejectionReason reason) {
  return reason == jit::RejectionReason::kTooLittleWork || reason == jit::RejectionReason::kValuesKeepChanging ||
         reason == jit::RejectionReason::kNotWorthwhile;
}

/// The DispatchFunctions of Region::image and Region::ahead; `cookie` is the Region.
uint32_t Dispatch(void* cookie, jit::SavedContext* context);
uint32_t DispatchAhead(void* cookie, jit::SavedContext* context);

}  // namespace tracelift::offload

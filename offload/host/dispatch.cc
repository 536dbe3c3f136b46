// What happens when a program thread arrives at a loop we have taken over.
//
// Everything here runs on the program's thread in the middle of its code: no allocation, no lock that can be waited
// for, no exception; system calls by number. Signals are blocked meanwhile and looked for between slices.
//
// One entry:   (site -> header, natively) -> cheap checks -> how many passes N are left?
//              -> slices: footprint of the slice -> mapped? independent? -> run on all cores -> commit registers
//              -> resume the original at the header, which does the last pass and leaves the loop itself.
// Some slices are run by the native clone instead: to know what the original costs, and, next to the variant, to
// verify it. Whatever goes wrong, the state is that of an arrival at the header, and the original goes on from it.

#include <time.h>

#include <algorithm>
#include <cstring>

#include "offload/host/memory_map.h"
#include "offload/host/region.h"
#include "offload/host/signals.h"

namespace tracelift::offload {
namespace {

using jit::RejectionReason;

constexpr uint32_t kDefaultMxcsr = 0x1f80;
constexpr uint32_t kMxcsrSticky = 0x3f;
constexpr double kSliceNs = 4e6;         // a slice is about this long, so that signals wait no longer
constexpr double kLongestSliceNs = 25e6;
constexpr double kProbeNs = 50e3;        // measure the original for about this long
constexpr double kShortestProbeNs = 10e3;  // a run much shorter only measures its own overhead
constexpr double kCloneEntryNs = 600;    // saving and restoring the register file around the clone, measured
constexpr double kVerifyNs = 300e3;      // slice that is computed both ways
constexpr uint64_t kKeptBytesPerThread = 512 << 10;  // what a slice keeps should stay in the cores' own caches
constexpr uint64_t kUndoBytes = 64 << 10;    // what a chunk keeps should stay in the nearest one
constexpr int64_t kPassesAfterNaNs = 1 << 16;
constexpr double kShortestEntryNs = 20e3;  // less work than this is left alone
constexpr int kTrustAfter = 2;           // verified slices before a variant runs alone
constexpr int kProbeFirstEntries = 4;    // measure the original in these, then in every kProbeEvery-th entry
constexpr int kProbeEvery = 32;
constexpr double kProbeAgainNs = 500e6;  // within one long entry; the first probe meets cold caches and fresh pages
constexpr double kProbeAgainPasses = 200;  // but not more often than this
constexpr int kLossesToBackOff = 3;

double NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

uint64_t SlotAddress(const jit::Slot& slot, const jit::MachineState& state) {
  return (slot.base >= 0 ? state.gpr[slot.base] : 0) + static_cast<uint64_t>(slot.displacement);
}

size_t VectorBytes(jit::RegisterSet live, int vector) { return live.HasVectorUpper(vector) ? 16 : 8; }

RejectionReason ReasonOf(uint32_t flags) {
  if (flags & jit::kFlagDetour) return RejectionReason::kCallInLoop;
  if (flags & jit::kFlagUnlike) return RejectionReason::kValuesKeepChanging;
  if (flags & jit::kFlagStale) return RejectionReason::kCarriedValue;
  if (flags & jit::kFlagDivideFault) return RejectionReason::kDivideFault;
  return RejectionReason::kNotANumber;
}

// One entry of one region; `region.busy` is held.
class Entry {
 public:
  Entry(Region& region, jit::SavedContext& context) : region_(region), context_(context), state_(region.state) {}

  uint32_t Capture();
  uint32_t Run(const Variant& variant, SignalMask mask);

 private:
  bool ReachHeader(uint32_t* resume);
  bool LoadState(std::span<const jit::Slot> slots);
  void CommitState();
  bool GuardsHold(const jit::Artifact& artifact) const;
  bool Decline(RejectionReason reason, int64_t skip);
  bool CheckSlice(const Variant& variant, int64_t passes);
  bool PlanToKeep(const Variant& variant, int64_t passes, bool verify);
  bool ProbeNative(int64_t limit, uint32_t* resume);
  bool ProbeNatively(const Variant& variant, int64_t* left, uint32_t* resume);
  bool RunNative(int64_t passes, uint32_t* resume, double* ns);
  void RecordRun(double ns, int64_t passes);
  void Adopt(const jit::MachineState& from, const jit::Artifact& artifact);
  void Seek(const Variant& variant, const jit::MachineState& start, int64_t passes);
  bool RunVariant(const Variant& variant, int64_t passes, uint32_t* resume);
  bool RedoChunks(const Variant& variant, int64_t passes, const WorkerPool::Outcome& outcome, uint32_t* resume);
  bool VerifySlice(const Variant& variant, int64_t passes, uint32_t* resume);
  int64_t SlicePasses(double target_ns, int64_t left, int64_t group) const;

  Region& region_;
  jit::SavedContext& context_;
  jit::MachineState& state_;
  jit::ByteRange ranges_[Region::kMaxRanges * 2];
  size_t range_count_ = 0;
  std::span<const jit::Slot> slots_;
  enum class Undo : uint8_t { kNothing, kChunk, kSlice };
  Undo undo_ = Undo::kNothing;   // what is kept of region_.writes
  int64_t chunk_passes_ = 1;
  bool dirty_ = false;           // state_ is ahead of the program's registers and slots
  jit::RegisterSet changed_;     // in these registers
  uint32_t sticky_ = 0;          // MXCSR flags raised by variants
};

bool Entry::ReachHeader(uint32_t* resume) {
  if (region_.image->site_is_header()) return true;
  const jit::RegionImage::NativeRun run = region_.image->RunFromSite(&context_);
  if (run.left) *resume = jit::kExit + run.exit;
  return !run.left;
}

// Registers and slots at the header; false when a slot is not readable as needed.
bool Entry::LoadState(std::span<const jit::Slot> slots) {
  jit::ReadContext(context_, &state_);
  state_.mxcsr = jit::ContextMxcsr(context_);
  slots_ = slots;
  for (size_t i = 0; i < slots.size(); ++i) {
    const uint64_t address = SlotAddress(slots[i], state_);
    const jit::ByteRange range{address, address + slots[i].bytes, slots[i].written};
    if (range.end < range.begin || !RangesUsable({&range, 1})) return false;
    std::memcpy(state_.slot[i].bytes.data(), reinterpret_cast<const void*>(address), slots[i].bytes);
  }
  return true;
}

// Writes what variants changed back to the registers and slots of the program.
void Entry::CommitState() {
  if (!dirty_) return;
  dirty_ = false;
  jit::WriteContext(state_, changed_, &context_);
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].written) continue;
    std::memcpy(reinterpret_cast<void*>(SlotAddress(slots_[i], state_)), state_.slot[i].bytes.data(), slots_[i].bytes);
  }
  if (sticky_ != 0) jit::RaiseMxcsrFlags(sticky_, &context_);
}

uint32_t Entry::Capture() {
  uint32_t resume = jit::kHeader;
  if (!ReachHeader(&resume)) return resume;
  if (LoadState(region_.preview.slots)) {
    region_.captured = state_;
    region_.mode.store(RegionMode::kCaptured, std::memory_order_release);
    region_.image->SkipNext(INT64_MAX / 2);
  }
  return resume;
}

bool Entry::GuardsHold(const jit::Artifact& artifact) const {
  for (const jit::Guard& guard : artifact.guards) {
    uint64_t value = 0;
    if (guard.gpr >= 0) {
      value = state_.gpr[guard.gpr];
    } else {
      std::memcpy(&value, state_.slot[guard.slot].bytes.data(), std::min<size_t>(8, slots_[guard.slot].bytes));
    }
    if (value != guard.value) return false;
  }
  return true;
}

bool Entry::Decline(RejectionReason reason, int64_t skip) {
  region_.CountDecline(reason);
  region_.image->SkipNext(skip);
  return false;
}

// After this, the next `passes` passes may run anywhere: the footprint and ranges_ describe them.
bool Entry::CheckSlice(const Variant& variant, int64_t passes) {
  const jit::FootprintProgram& program = variant.artifact.footprint;
  const auto evaluated = jit::Evaluate(program, state_, passes, &region_.footprint);
  if (!evaluated) {
    region_.conflict_instruction.store(evaluated.error().instruction, std::memory_order_relaxed);
    return Decline(evaluated.error().reason, passes);
  }
  const jit::IndependenceResult independence = jit::CheckIndependent(region_.footprint);
  if (passes > 1 && independence.verdict != jit::Independence::kIndependent) {
    const uint16_t access = independence.first < jit::kSlotBase ? independence.first : independence.second;
    region_.conflict_instruction.store(access < program.accesses.size() ? program.accesses[access].instruction : 0,
                                       std::memory_order_relaxed);
    return Decline(RejectionReason::kDependentIterations, passes);
  }
  range_count_ = jit::CollectRanges(region_.footprint, ranges_);
  // Our own frames lie below the red zone of the program's stack.
  const uint64_t stack_top = state_.gpr[jit::kRsp] - 128;
  const uint64_t stack_low = reinterpret_cast<uint64_t>(__builtin_frame_address(0)) - 65536;
  for (size_t i = 0; i < range_count_; ++i) {
    if (ranges_[i].begin < stack_top && ranges_[i].end > stack_low) {
      return Decline(RejectionReason::kUnmappedMemory, passes);
    }
  }
  if (!RangesUsable({ranges_, range_count_})) return Decline(RejectionReason::kUnmappedMemory, passes);
  return true;
}

// What the checked slice overwrites is kept when it may have to be done again: all of it, or, where the original can do
// single chunks again, only what the chunk under way overwrites, in the cache of the core that runs it.
bool Entry::PlanToKeep(const Variant& variant, int64_t passes, bool verify) {
  const jit::Artifact& artifact = variant.artifact;
  region_.kept_per_pass = 0;
  undo_ = Undo::kNothing;
  chunk_passes_ = region_.pool->ChunkPasses(passes, artifact.group, passes);
  if (!verify && (artifact.may_flag == 0 || !jit::ReadsWhatItWrites(region_.footprint))) return true;
  constexpr uint32_t kRedoable = jit::kFlagNaN | jit::kFlagUnlike;
  const bool by_chunk = !verify && artifact.can_seek && (artifact.may_flag & ~kRedoable) == 0;
  WritePlan& writes = region_.writes;
  if (by_chunk && writes.Make(region_.footprint, 1) && writes.separable()) {
    const auto most = static_cast<int64_t>(kUndoBytes / std::max<uint64_t>(1, writes.bytes()));
    chunk_passes_ = region_.pool->ChunkPasses(passes, artifact.group, std::max<int64_t>(1, most));
    undo_ = Undo::kChunk;
    return writes.Make(region_.footprint, chunk_passes_) || Decline(RejectionReason::kTooMuchToKeep, passes);
  }
  undo_ = Undo::kSlice;
  if (!writes.Make(region_.footprint, passes) || !region_.before.Reserve(writes)) {
    return Decline(RejectionReason::kTooMuchToKeep, passes);
  }
  region_.kept_per_pass = std::max<uint64_t>(1, writes.bytes() / static_cast<uint64_t>(passes));
  return true;
}

// Runs the original for `passes` passes (fewer when it leaves the loop: then false).
bool Entry::RunNative(int64_t passes, uint32_t* resume, double* ns) {
  CommitState();
  const double start = NowNs();
  const jit::RegionImage::NativeRun run = region_.image->RunFromHeader(&context_, passes);
  *ns = NowNs() - start;
  if (run.left) {
    *resume = jit::kExit + run.exit;
    return false;
  }
  return LoadState(slots_);
}

// Measures the original on real progress, at most `limit` passes, about kProbeNs long. The price of entering the clone
// shows in a run of one pass; a longer run less that is what the loop itself costs.
bool Entry::ProbeNative(int64_t limit, uint32_t* resume) {
  double spent = 0, first_ns = 0;
  int64_t total = 0, longest = 0;
  for (int64_t passes = 1; total < limit && spent < kProbeNs; passes *= 8) {
    passes = std::min(passes, limit - total);
    double ns = 0;
    if (!RunNative(passes, resume, &ns)) return false;
    spent += ns;
    total += passes;
    if (total == 1) first_ns = ns;
    if (passes < longest || passes == 1) continue;
    longest = passes;
    region_.native_ns = std::max(0.01, (ns - std::min(first_ns, kCloneEntryNs)) / static_cast<double>(passes));
  }
  if (total == 0) return true;
  if (longest == 0) region_.native_ns = std::max(first_ns - kCloneEntryNs, 0.01);
  region_.native_timing.Add(region_.native_ns);
  region_.native_time_ns.fetch_add(static_cast<uint64_t>(spent), std::memory_order_relaxed);
  region_.native_passes.fetch_add(static_cast<uint64_t>(total), std::memory_order_relaxed);
  return true;
}

// Measures the original on the next passes and updates how many are left; false when the entry is over.
bool Entry::ProbeNatively(const Variant& variant, int64_t* left, uint32_t* resume) {
  const double known = region_.native_ns;
  const auto enough = known == 0 ? *left : std::max(*left / 16, static_cast<int64_t>(std::min(kShortestProbeNs / known, 1e12)));
  const int64_t limit = std::clamp<int64_t>(enough, 1, *left);
  // A range that faults must fault in the original, where a handler of the program expects it.
  if (!CheckSlice(variant, limit) || !ProbeNative(limit, resume)) return false;
  region_.probe_again_ns = NowNs() + std::max(kProbeAgainNs, kProbeAgainPasses * region_.native_ns);
  const auto now_left = jit::EvaluateTripCount(variant.artifact.footprint, state_);
  if (!now_left) return false;
  *left = *now_left;
  return *left >= 1;
}

// The registers and slots are as in `from`, where the variant computes them.
void Entry::Adopt(const jit::MachineState& from, const jit::Artifact& artifact) {
  const jit::RegisterSet live = artifact.written & artifact.live_at_header;
  for (int i = 0; i < jit::kGprCount; ++i) {
    if (live.HasGpr(i)) state_.gpr[i] = from.gpr[i];
  }
  for (int i = 0; i < jit::kVectorCount; ++i) {
    if (live.HasVector(i)) std::memcpy(&state_.vector[i], &from.vector[i], VectorBytes(live, i));
  }
  if (live.HasFlags()) state_.rflags = from.rflags;
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].written) state_.slot[i] = from.slot[i];
  }
  changed_ = changed_ | live;
  dirty_ = true;
}

// Puts the state `passes` passes after `start` in place, without running them.
void Entry::Seek(const Variant& variant, const jit::MachineState& start, int64_t passes) {
  uint32_t flags = 0;
  region_.after = start;
  variant.function(&start, &region_.after, passes, 0, &flags);
  Adopt(region_.after, variant.artifact);
}

// Runs the prepared slice on all cores; false when the original must redo it (memory and state are then as before).
bool Entry::RunVariant(const Variant& variant, int64_t passes, uint32_t* resume) {
  region_.after = state_;
  WorkerPool::Job job{variant.function, &state_, &region_.after, passes, chunk_passes_, state_.mxcsr};
  if (undo_ != Undo::kNothing) job.writes = &region_.writes;
  if (undo_ == Undo::kSlice) {
    job.before = &region_.before;
    if (!region_.writes.separable()) {
      region_.before.Save(region_.writes, 0, 0, passes);
      job.writes = nullptr;
      job.before = nullptr;
    }
  }
  WorkerPool::Outcome outcome;
  if (!region_.pool->Run(job, &outcome)) return Decline(RejectionReason::kTooLittleWork, 1);
  sticky_ |= outcome.mxcsr_sticky;
  if (outcome.flags == jit::kFlagNaN && undo_ != Undo::kSlice && variant.artifact.can_seek) {
    return RedoChunks(variant, passes, outcome, resume);
  }
  if (outcome.flags != 0) {
    if (undo_ == Undo::kSlice) region_.before.Restore(region_.writes, 0, 0, passes);
    return Decline(ReasonOf(outcome.flags), passes);
  }
  Adopt(region_.after, variant.artifact);
  region_.passes.fetch_add(static_cast<uint64_t>(passes), std::memory_order_relaxed);
  return true;
}

// The original does the chunks that met a NaN; then the slice is complete. False when these were many: the data are
// full of NaN then.
bool Entry::RedoChunks(const Variant& variant, int64_t passes, const WorkerPool::Outcome& outcome, uint32_t* resume) {
  jit::MachineState& start = region_.captured;  // not needed any more once a variant runs
  start = state_;
  int64_t redone = 0;
  for (int64_t first = 0; first < passes; first += chunk_passes_) {
    const auto index = static_cast<uint64_t>(first / chunk_passes_);
    if ((outcome.flagged[index / 64] >> index % 64 & 1) == 0) continue;
    const int64_t count = std::min(chunk_passes_, passes - first);
    Seek(variant, start, first);
    double ns = 0;
    if (!RunNative(count, resume, &ns)) return false;
    redone += count;
  }
  Seek(variant, start, passes);
  region_.passes.fetch_add(static_cast<uint64_t>(passes - redone), std::memory_order_relaxed);
  return redone * 4 < passes || Decline(RejectionReason::kNotANumber, kPassesAfterNaNs);
}

// The variant, then the original, on the same slice; the original's results stand.
bool Entry::VerifySlice(const Variant& variant, int64_t passes, uint32_t* resume) {
  jit::MachineState& before = region_.captured;  // not needed any more once a variant runs
  before = state_;
  if (!region_.variant_result.Reserve(region_.writes)) return Decline(RejectionReason::kTooMuchToKeep, passes);
  if (!RunVariant(variant, passes, resume)) return false;
  region_.variant_result.Save(region_.writes, 0, 0, passes);
  region_.before.Restore(region_.writes, 0, 0, passes);
  if (variant.artifact.can_seek) Seek(variant, before, passes);  // must find the same state
  region_.after = state_;
  state_ = before;
  dirty_ = true;
  double ns = 0;
  if (!RunNative(passes, resume, &ns)) return false;

  uint64_t where = 0;
  bool equal = region_.variant_result.Equals(region_.writes, &where);
  const jit::RegisterSet live = variant.artifact.live_at_header;
  for (int i = 0; i < jit::kGprCount && equal; ++i) {
    equal = !live.HasGpr(i) || state_.gpr[i] == region_.after.gpr[i];
  }
  for (int i = 0; i < jit::kVectorCount && equal; ++i) {
    equal = !live.HasVector(i) ||
            std::memcmp(&state_.vector[i], &region_.after.vector[i], VectorBytes(live, i)) == 0;
  }
  for (size_t i = 0; i < slots_.size() && equal; ++i) {
    equal = !slots_[i].written || std::memcmp(&state_.slot[i], &region_.after.slot[i], slots_[i].bytes) == 0;
  }
  if (!equal) {
    region_.mismatches.fetch_add(1, std::memory_order_relaxed);
    region_.conflict_instruction.store(where, std::memory_order_relaxed);
    region_.mode.store(RegionMode::kHome, std::memory_order_release);
    return Decline(RejectionReason::kVerificationMismatch, INT64_MAX / 2);
  }
  region_.verified.fetch_add(1, std::memory_order_relaxed);
  ++region_.trusted_slices;
  region_.probe_again_ns = 0;  // caches and pages are warm now
  return true;
}

// About `target_ns` of work, but enough passes that no core idles long at the end of a slice: a multiple of the threads,
// eight for each unless that takes longer than a signal should wait.
int64_t Entry::SlicePasses(double target_ns, int64_t left, int64_t group) const {
  const double cost = std::max(region_.variant_ns > 0 ? region_.variant_ns : region_.native_ns, 0.01);
  const int64_t threads = region_.pool->threads() * group;
  const auto within = [&](double ns) { return static_cast<int64_t>(std::min(ns / cost, 1e15)); };
  const int64_t even = std::min(8 * threads, within(kLongestSliceNs));
  int64_t passes = std::max({within(target_ns), even, threads});
  if (region_.kept_per_pass > 0) {
    const auto kept = static_cast<uint64_t>(region_.pool->threads()) * kKeptBytesPerThread / region_.kept_per_pass;
    passes = std::max(threads, std::min(passes, static_cast<int64_t>(kept)));
  }
  passes -= passes % threads;
  return std::min(passes, left);
}

uint32_t Entry::Run(const Variant& variant, SignalMask mask) {
  const double start = NowNs();
  uint32_t resume = jit::kHeader;
  const jit::Artifact& artifact = variant.artifact;
  if ((jit::ContextMxcsr(context_) & ~kMxcsrSticky) != kDefaultMxcsr) {
    Decline(RejectionReason::kFloatEnvironment, 64);
    return jit::kDecline;
  }
  if (!ReachHeader(&resume)) return resume;
  if (!LoadState(artifact.footprint.slots)) {
    Decline(RejectionReason::kUnmappedMemory, 64);
    return resume;
  }
  if (!GuardsHold(artifact)) {
    Decline(RejectionReason::kValuesKeepChanging, 1);
    return resume;
  }
  const auto trip = jit::EvaluateTripCount(artifact.footprint, state_);
  if (!trip) {
    Decline(trip.error().reason, 64);
    return resume;
  }
  int64_t left = *trip;
  if (left < 1) return resume;  // this is the last pass: the original's
  if (region_.native_ns > 0 && region_.native_ns * static_cast<double>(left) < kShortestEntryNs) {
    Decline(RejectionReason::kTooLittleWork, std::min<int64_t>(left, 1 << 20));
    return resume;
  }
  if (region_.trusted_for != &variant) {
    region_.trusted_for = &variant;
    region_.trusted_slices = 0;
    region_.variant_ns = 0;
    region_.probe_again_ns = 0;
  }

  const uint64_t entry = region_.entries_seen++;
  const double prepared = NowNs();
  if (region_.native_ns == 0 || entry < kProbeFirstEntries || entry % kProbeEvery == 0) {
    if (!ProbeNatively(variant, &left, &resume)) return resume;
    if (region_.native_ns * static_cast<double>(left) < kShortestEntryNs) {
      Decline(RejectionReason::kTooLittleWork, std::min<int64_t>(left, 1 << 20));
      return resume;
    }
  }

  double run_ns = prepared - start;  // the entry itself is part of the price
  int64_t run_passes = 0, done = 0;
  bool good = true;
  while (good && left > 0) {
    const bool verify = region_.verify == VerifyMode::kAlways ||
                        (region_.verify == VerifyMode::kFirst && region_.trusted_slices < kTrustAfter);
    const int64_t passes = SlicePasses(verify ? kVerifyNs : kSliceNs, left, artifact.group);
    const double slice_start = NowNs();
    good = CheckSlice(variant, passes) && PlanToKeep(variant, passes, verify) &&
           (verify ? VerifySlice(variant, passes, &resume) : RunVariant(variant, passes, &resume));
    if (resume != jit::kHeader) return resume;  // verifying, the original left the loop: it is right by definition
    if (!good) break;
    left -= passes;
    done += passes;
    if (!verify) {
      run_ns += NowNs() - slice_start;
      run_passes += passes;
      if (left > 1 && NowNs() > region_.probe_again_ns) good = ProbeNatively(variant, &left, &resume);
    }
    if (left > 0 && SignalWaits(mask)) break;
  }
  CommitState();
  if (done > 0) region_.executions.fetch_add(1, std::memory_order_relaxed);
  if (run_passes > 0) RecordRun(run_ns, run_passes);
  // The last pass is the original's; back off from a variant that keeps losing.
  const int losses = region_.consecutive_losses.load(std::memory_order_relaxed);
  if (losses >= kLossesToBackOff) {
    region_.image->SkipNext(int64_t{1} << std::min(40, 4 + losses));
  } else if (good) {
    region_.image->SkipNext(1);
  }
  return resume;
}

void Entry::RecordRun(double ns, int64_t passes) {
  region_.variant_ns = ns / static_cast<double>(passes);
  region_.variant_timing.Add(region_.variant_ns);
  region_.variant_time_ns.fetch_add(static_cast<uint64_t>(ns), std::memory_order_relaxed);
  const double saved = (region_.native_ns - region_.variant_ns) * static_cast<double>(passes);
  if (saved > 0) region_.time_saved_ns.fetch_add(static_cast<uint64_t>(saved), std::memory_order_relaxed);
  const int losses = region_.consecutive_losses.load(std::memory_order_relaxed);
  region_.consecutive_losses.store(saved > 0 ? 0 : losses + 1, std::memory_order_relaxed);
  region_.last_range_count = std::min<size_t>(range_count_, Region::kMaxRanges);
  std::copy_n(ranges_, region_.last_range_count, region_.last_ranges.begin());
  region_.last_end_ns = static_cast<uint64_t>(NowNs());
}

}  // namespace

uint32_t Dispatch(void* cookie, jit::SavedContext* context) {
  auto& region = *static_cast<Region*>(cookie);
  const RegionMode mode = region.mode.load(std::memory_order_acquire);
  if (mode == RegionMode::kCaptured || mode == RegionMode::kHome) {
    region.image->SkipNext(INT64_MAX / 2);
    return jit::kDecline;
  }
  // What dispatch and the deepest chunk need below here; threads and coroutines can have less.
  constexpr uint64_t kStackBytes = 48 << 10;
  const auto stack = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  const jit::ByteRange room{stack - kStackBytes, stack, true};
  if (!RangesUsable({&room, 1})) {
    region.CountDecline(RejectionReason::kSmallStack);
    region.image->SkipNext(1 << 16);
    return jit::kDecline;
  }
  if (region.busy.exchange(true, std::memory_order_acquire)) {
    region.image->SkipNext(64);  // another thread is in it; look again a little later
    return jit::kDecline;
  }
  const SignalMask mask = BlockAllSignals();
  uint32_t resume = jit::kDecline;
  Entry entry(region, *context);
  if (region.mode.load(std::memory_order_acquire) == RegionMode::kCapture) {
    resume = entry.Capture();
  } else if (const Variant* variant = region.variant.load(std::memory_order_acquire)) {
    resume = entry.Run(*variant, mask);
  }
  region.busy.store(false, std::memory_order_release);
  RestoreSignals(mask);  // a waiting signal is taken here, with nothing of ours held
  return resume;
}

std::vector<double> TimingRing::Sorted() const {
  const size_t used = std::min<uint64_t>(count(), kSize);
  std::vector<double> values(used);
  for (size_t i = 0; i < used; ++i) values[i] = values_[i].load(std::memory_order_relaxed);
  std::sort(values.begin(), values.end());
  return values;
}

}  // namespace tracelift::offload

// One slice: may it run anywhere, what must be kept, the run itself, and what happens when it must be done again.
#include <algorithm>
#include <cstring>
#include <utility>

#include "offload/host/entry.h"
#include "offload/host/float_scope.h"
#include "offload/host/memory_map.h"

namespace tracelift::offload {
namespace {

using jit::RejectionReason;

constexpr uint64_t kUndoBytes = 64 << 10;    // what a chunk keeps should stay in the nearest one
constexpr int64_t kPassesAfterNaNs = 1 << 16;
constexpr double kLongVerifiedNs = 10e6;     // by the original: one such slice is enough to trust a variant
constexpr size_t kLentBytes = 8 << 20;       // larger copies are for verifying only
constexpr double kWorthSplittingNs = 100e3;  // a slice in which passes meet
constexpr double kWorthRunningNs = 20e3;     // the part of it in which they do not
constexpr double kSearchedAgainNs = 12e3;    // by the original, where a search stops
constexpr int kMostConflicts = 4;            // of passes that come one by one, in one entry

}  // namespace

RejectionReason ReasonOf(uint32_t flags) {
  if (flags & jit::kFlagStrayed) return RejectionReason::kIndirectAddress;  // which may have led to all others
  if (flags & jit::kFlagDetour) return RejectionReason::kCallInLoop;
  if (flags & jit::kFlagLeft) return RejectionReason::kUnknownTripCount;
  if (flags & jit::kFlagUnlike) return RejectionReason::kValuesKeepChanging;
  if (flags & jit::kFlagStale) return RejectionReason::kCarriedValue;
  if (flags & jit::kFlagDivideFault) return RejectionReason::kDivideFault;
  return RejectionReason::kNotANumber;
}

// Where the next `passes` passes read and write, and that they can: footprint and ranges_ describe them afterwards.
bool Entry::DescribeSlice(const Variant& variant, int64_t passes) {
  const jit::FootprintProgram& program = variant.artifact.footprint;
  const auto evaluated = jit::Evaluate(program, state_, passes, &region_.footprint);
  if (!evaluated) {
    region_.conflict_instruction.store(evaluated.error().instruction, std::memory_order_relaxed);
    return Decline(evaluated.error().reason, passes);
  }
  range_count_ = jit::CollectRanges(region_.footprint, ranges_);
  // Our own frames lie below the red zone of the program's stack. Where callees use the stack, it is theirs from the top.
  const uint64_t stack_top = state_.gpr[jit::kRsp] - (variant.artifact.pass_stack > 0 ? 0 : 128);
  const uint64_t stack_low = reinterpret_cast<uint64_t>(__builtin_frame_address(0)) - 65536;
  for (size_t i = 0; i < range_count_; ++i) {
    if (ranges_[i].begin < stack_top && ranges_[i].end > stack_low) {
      return Decline(RejectionReason::kUnmappedMemory, passes);
    }
  }
  if (!RangesUsable({ranges_, range_count_})) return Decline(RejectionReason::kUnmappedMemory, passes);
  return PlaceWindows(variant, passes, stack_top, stack_low);
}

// Where reads of the described slice may lie whose addresses only data decide: what the program can read around their bases and
// neither the slice nor we write meanwhile.
bool Entry::PlaceWindows(const Variant& variant, int64_t passes, uint64_t stack_top, uint64_t stack_low) {
  const jit::FootprintProgram& program = variant.artifact.footprint;
  for (size_t i = 0; i < program.windows.size(); ++i) {
    const uint64_t base = region_.footprint.window_base[i];
    const auto decline = [&](RejectionReason reason) {
      region_.conflict_instruction.store(program.windows[i].instruction, std::memory_order_relaxed);
      return Decline(reason, passes);
    };
    jit::ReadWindow readable = ReadableAround(base);
    if (readable.begin <= base && base < stack_low) readable.end = std::min(readable.end, stack_low);
    if (base >= stack_top) readable.begin = std::max(readable.begin, stack_top);
    const bool in_our_frames = base >= stack_low && base < stack_top;
    if (in_our_frames || readable.begin >= readable.end) return decline(RejectionReason::kIndirectAddress);
    const jit::ReadWindow window = jit::UnwrittenAround(base, readable, region_.footprint);
    if (window.end - window.begin < program.windows[i].bytes) return decline(RejectionReason::kDependentIterations);
    state_.window[i] = window;
  }
  return true;
}

// How many of the next `passes` passes are independent of each other, at least one. A pass may meet what only a few others
// touch, as the one that reads and writes the pivot's row: all up to it can run together, and all behind it.
int64_t Entry::IndependentPasses(const Variant& variant, int64_t passes) {
  const jit::FootprintProgram& program = variant.artifact.footprint;
  const auto independent = [&](int64_t count) {
    return jit::Evaluate(program, state_, count, &region_.footprint) &&
           jit::CheckIndependent(region_.footprint).verdict == jit::Independence::kIndependent;
  };
  int64_t enough = 1, too_many = passes;
  while (too_many - enough > 1) {
    const int64_t middle = enough + (too_many - enough) / 2;
    (independent(middle) ? enough : too_many) = middle;
  }
  return enough;
}

// Whether the passes behind the next `passes` do not meet each other at once, too.
bool Entry::IndependentBehind(const Variant& variant, int64_t passes) {
  if (!variant.artifact.can_seek) return false;
  jit::MachineState& here = region_.captured;  // not needed any more once a variant runs
  CopyState(state_, &here);
  Seek(variant, here, passes);
  const bool independent = jit::Evaluate(variant.artifact.footprint, state_, 2, &region_.footprint) &&
                           jit::CheckIndependent(region_.footprint).verdict == jit::Independence::kIndependent;
  CopyState(here, &state_);
  return independent;
}

// Whether what the code was compiled for beside independence holds in the slice described, too.
bool Entry::StandsOn(const Variant& variant, int64_t checked, int64_t* passes) {
  const jit::Artifact& artifact = variant.artifact;
  const auto holds = jit::CheckReliance(artifact.footprint, region_.footprint, artifact.reliance);
  if (holds.verdict != jit::Independence::kIndependent) return Decline(RejectionReason::kValuesKeepChanging, checked);
  *passes = checked;
  return true;
}

// How many iterations of the loop with the lead all passes of the slice may do first; 0 where that is not most of them. The
// slice is described.
int64_t Entry::LeadOfSlice(const Variant& variant, int64_t passes) {
  constexpr int64_t kShortest = 32;
  const jit::Artifact& artifact = variant.artifact;
  const jit::Lead& lead = artifact.reliance.lead;
  int64_t trips[jit::kMaxLoops];
  if (passes < 2 || passes % artifact.group != 0 || !jit::TripsIn(0, artifact.footprint, state_, -1, 0, trips)) return 0;
  const int64_t length = trips[lead.loop];  // of the first pass, the shortest
  const int64_t first = jit::LeadOf(artifact.footprint, state_, region_.footprint, passes, lead, length);
  return first >= kShortest && first > length / 2 ? first : 0;
}

// After this the next *passes passes, maybe fewer than asked for, may run anywhere. False when the slice stays with the
// original: *passes is then how many of them, 0 when the entry is declined.
bool Entry::CheckSlice(const Variant& variant, int64_t* passes) {
  const int64_t asked = std::exchange(*passes, 0);
  if (!DescribeSlice(variant, asked)) return false;
  const bool shared = variant.artifact.parts > 1;
  const auto independence = shared ? jit::IndependenceResult{} : jit::CheckIndependent(region_.footprint);
  const bool independent = independence.verdict == jit::Independence::kIndependent;
  in_order_ = !independent && variant.artifact.parts > 0;
  if (in_order_ && jit::CheckSlots(region_.footprint).verdict != jit::Independence::kIndependent) {
    return Decline(RejectionReason::kDependentIterations, asked);
  }
  lead_ = 0;
  if (in_order_ && variant.artifact.reliance.lead.loop > 0) {
    lead_ = LeadOfSlice(variant, asked);
    if (lead_ == 0) return *passes = asked, false;
  }
  if (in_order_ || independent) return StandsOn(variant, asked, passes);
  const jit::FootprintProgram& program = variant.artifact.footprint;
  const uint16_t access = independence.first < jit::kSlotBase ? independence.first : independence.second;
  region_.conflict_instruction.store(access < program.accesses.size() ? program.accesses[access].instruction : 0,
                                     std::memory_order_relaxed);
  const double ns = std::max(region_.costs.native_ns, 0.01);
  const int64_t together = ns * static_cast<double>(asked) < kWorthSplittingNs ? 0 : IndependentPasses(variant, asked);
  if (together >= region_.pool->threads() && together > 1 && ns * static_cast<double>(together) >= kWorthRunningNs) {
    return DescribeSlice(variant, together) && StandsOn(variant, together, passes);
  }
  if (together == 0 || conflicts_++ >= kMostConflicts || !IndependentBehind(variant, together)) {
    return Decline(RejectionReason::kDependentIterations, asked);
  }
  *passes = together;
  return false;
}

// Chunks of so many passes, or fewer, that what they overwrite stays in the nearest cache.
bool Entry::MakeLog(const jit::Artifact& artifact, int64_t passes) {
  if (!region_.log.Make(artifact, region_.footprint, 1)) return false;
  const auto most = static_cast<int64_t>(kUndoBytes / std::max<uint64_t>(1, region_.log.pass_bytes()));
  chunk_passes_ = std::min(chunk_passes_, region_.pool->ChunkPasses(passes, artifact.batch, std::max<int64_t>(1, most)));
  return region_.log.Make(artifact, region_.footprint, chunk_passes_);
}

// Where no call tells the state ahead of a chunk, the chunk before it does.
bool Entry::ReserveStates(const jit::Artifact& artifact, int64_t passes) {
  state_bytes_ = 0;
  if (artifact.can_seek) return true;
  constexpr size_t kApart = alignof(jit::MachineState) - 1;
  state_bytes_ = (offsetof(jit::MachineState, slot) + slots_.size() * sizeof(jit::SlotValue) + kApart) & ~kApart;
  return region_.chunk_states.Reserve(static_cast<size_t>((passes + chunk_passes_ - 1) / chunk_passes_) * state_bytes_);
}

// Keeping the bytes of a long slice twice, in fresh memory, can take longer than the variant saves in all that is left, or in
// this entry and those before.
bool Entry::IsWorthVerifying(uint64_t bytes, int64_t left) {
  constexpr double kNsPerByte = 2.5, kWorkPerPrice = 5;
  if (bytes <= kLentBytes || region_.verify == VerifyMode::kAlways) return true;
  const double now = NowNs(), work_ns = region_.costs.native_ns * static_cast<double>(left);
  region_.unverified_ns += std::min(region_.unverified_left_ns, now - region_.unverified_since_ns);
  region_.unverified_left_ns = work_ns;
  region_.unverified_since_ns = now;
  return region_.unverified_ns + work_ns >= kWorkPerPrice * kNsPerByte * static_cast<double>(bytes);
}

// What the checked slice overwrites is kept when it may have to be done again: all of it, or, where the original can do
// single chunks again, only what the chunk under way overwrites, in the cache of the core that runs it.
bool Entry::PlanToKeep(const Variant& variant, int64_t passes, int64_t left, bool verify) {
  const jit::Artifact& artifact = variant.artifact;
  region_.kept_per_pass = 0;
  if (artifact.kernel) return PlanForDevice(variant, passes, verify);
  undo_ = Undo::kNothing;
  stops_ = false;
  const int64_t longest = artifact.FindsItsEnd() ? PassesOfSearch() : passes;
  chunk_passes_ = in_order_ ? passes : region_.pool->ChunkPasses(passes, artifact.batch, longest);
  if (!artifact.logged.empty() && !MakeLog(artifact, passes)) return Decline(RejectionReason::kTooMuchToKeep, passes);
  // A read that strays brings anything, and whether something is written may depend on it; or it faults in the original, before
  // what later passes write.
  const bool may_stray = (artifact.may_flag & jit::kFlagStrayed) != 0;
  const bool can_repeat = !may_stray && !in_order_ && !jit::ReadsWhatItWrites(region_.footprint);
  if (!verify && (artifact.may_flag == 0 || can_repeat)) return true;
  const bool by_chunk = !verify && !in_order_ && jit::IsRedoneByChunk(artifact) && !artifact.NeedsSinglePass();
  if (by_chunk && !artifact.logged.empty() && jit::WritesOnce(artifact.footprint, region_.footprint, artifact.logged)) {
    undo_ = Undo::kLog;
    return ReserveStates(artifact, passes) || Decline(RejectionReason::kTooMuchToKeep, passes);
  }
  WritePlan& writes = region_.writes;
  if (by_chunk && writes.Make(region_.footprint, 1) && writes.separable()) {
    const auto most = static_cast<int64_t>(kUndoBytes / std::max<uint64_t>(1, writes.bytes()));
    chunk_passes_ = region_.pool->ChunkPasses(passes, artifact.batch, std::max<int64_t>(1, most));
    undo_ = Undo::kChunk;
    const bool fits = writes.Make(region_.footprint, chunk_passes_) && ReserveStates(artifact, passes);
    const bool logs = artifact.logged.empty() || region_.log.Make(artifact, region_.footprint, chunk_passes_);
    return (fits && logs) || Decline(RejectionReason::kTooMuchToKeep, passes);
  }
  undo_ = Undo::kSlice;
  const bool planned = writes.Make(region_.footprint, passes);
  if (planned && verify && !IsWorthVerifying(writes.bytes(), left)) return Decline(RejectionReason::kNotWorthwhile, left);
  if (!planned || !region_.before.Reserve(writes)) {
    return Decline(RejectionReason::kTooMuchToKeep, passes);
  }
  region_.kept_per_pass = std::max<uint64_t>(1, writes.bytes() / static_cast<uint64_t>(passes));
  return true;
}

// So many passes the original does again where a search stops.
int64_t Entry::PassesOfSearch() const {
  return std::max<int64_t>(1, static_cast<int64_t>(kSearchedAgainNs / std::max(region_.costs.native_ns, 0.01)));
}

// What all passes of the slice do first. Returns false when the pool is taken.
bool Entry::RunLead(const Variant& variant, const WorkerPool::Job& whole, uint32_t* flags) {
  WorkerPool::Job job = whole;
  job.out = nullptr;
  job.leads = true;
  const int64_t group = variant.artifact.group, threads = region_.pool->threads();
  job.chunk_passes = (whole.passes / group + threads - 1) / threads * group;
  WorkerPool::Outcome outcome;
  if (!region_.pool->Run(job, &outcome)) return Decline(RejectionReason::kTooLittleWork, 1);
  sticky_ |= outcome.mxcsr_sticky;
  *flags = outcome.flags;
  return true;
}

// Runs the prepared slice on all cores; false when the original must redo it (memory and state are then as before). Where a
// search stops, *passes becomes how many were done before that.
bool Entry::RunVariant(const Variant& variant, int64_t* wanted, uint32_t* resume) {
  const int64_t passes = *wanted;
  if (variant.artifact.kernel) return RunOnDevice(variant, passes);
  const bool seeks = variant.artifact.can_seek;
  CopyState(state_, &region_.after);
  // Where chunks share each pass, none can tell the state at the end: the last pass comes behind them.
  const bool shared = variant.artifact.parts > 1;
  const int64_t last = shared && !seeks ? 1 : 0;
  WorkerPool::Job job{variant.function, &state_, seeks || shared ? nullptr : &region_.after, passes - last, chunk_passes_,
                      state_.mxcsr, variant.artifact.reductions, shared ? variant.artifact.parts : 0};
  job.stops_at_flag = variant.artifact.FindsItsEnd() && !in_order_;
  if (!variant.artifact.logged.empty()) job.log = &region_.log;
  job.undoes_by_log = undo_ == Undo::kLog;
  const bool by_chunk = undo_ == Undo::kLog || undo_ == Undo::kChunk;
  if (by_chunk && state_bytes_ > 0) {
    job.states = region_.chunk_states.memory();
    job.state_bytes = state_bytes_;
  }
  if (undo_ == Undo::kChunk || undo_ == Undo::kSlice) job.writes = &region_.writes;
  if (undo_ == Undo::kSlice) {
    job.before = &region_.before;
    if (shared || lead_ > 0 || !region_.writes.separable()) {
      region_.before.Save(region_.writes, 0, 0, passes);
      job.writes = nullptr;
      job.before = nullptr;
    }
  }
  WorkerPool::Outcome outcome;
  job.lead = lead_;
  if (lead_ > 0 && !RunLead(variant, job, &outcome.flags)) return false;
  if (job.passes > 0 && outcome.flags == 0 && !region_.pool->Run(job, &outcome)) {
    if (lead_ > 0) region_.before.Restore(region_.writes, 0, 0, passes);
    return Decline(RejectionReason::kTooLittleWork, 1);
  }
  sticky_ |= outcome.mxcsr_sticky;
  if (last > 0 && outcome.flags == 0) outcome.flags = RunLastPass(variant, passes - last);
  if (outcome.flags == jit::kFlagLeft && job.stops_at_flag) {
    stops_ = true;
    *wanted = outcome.FirstFlagged() * chunk_passes_;
    if (*wanted > 0) Seek(variant, state_, *wanted);
    region_.passes.fetch_add(static_cast<uint64_t>(*wanted), std::memory_order_relaxed);
    return true;
  }
  const bool by_state = seeks || job.states;
  if (outcome.flags == jit::kFlagNaN && undo_ != Undo::kSlice && by_state && job.reductions.empty() && !job.stops_at_flag) {
    return RedoChunks(variant, passes, outcome, resume);
  }
  if (outcome.flags != 0) {
    if (undo_ == Undo::kSlice) region_.before.Restore(region_.writes, 0, 0, passes);
    return Decline(ReasonOf(outcome.flags), passes);
  }
  Settle(variant, passes, outcome);
  region_.passes.fetch_add(static_cast<uint64_t>(passes), std::memory_order_relaxed);
  return true;
}

// One pass behind `done` others, and the state after it to region_.after. Returns kFlag*.
uint32_t Entry::RunLastPass(const Variant& variant, int64_t done) {
  jit::ChunkResult result;
  const FloatScope scope(state_.mxcsr);
  variant.function(&state_, &region_.after, done, 1, &result);
  sticky_ |= scope.raised();
  return result.flags;
}

// The original does the chunks that met a NaN; then the slice is complete. False when these were many: the data are
// full of NaN then.
bool Entry::RedoChunks(const Variant& variant, int64_t passes, const WorkerPool::Outcome& outcome, uint32_t* resume) {
  jit::MachineState& start = region_.captured;  // not needed any more once a variant runs
  CopyState(state_, &start);
  const bool seeks = variant.artifact.can_seek;
  const auto adopt_state_after = [&](uint64_t chunk) {
    const uint8_t* left = region_.chunk_states.memory() + chunk * state_bytes_;
    Adopt(*reinterpret_cast<const jit::MachineState*>(left), variant.artifact);
  };
  int64_t redone = 0, here = 0;  // the state is that after so many passes
  for (int64_t first = 0; first < passes; first += chunk_passes_) {
    const auto index = static_cast<uint64_t>(first / chunk_passes_);
    if ((outcome.flagged[index / 64] >> index % 64 & 1) == 0) continue;
    const int64_t count = std::min(chunk_passes_, passes - first);
    if (seeks) Seek(variant, start, first);
    if (!seeks && here != first) adopt_state_after(index - 1);
    here = first + count;
    double ns = 0;
    if (!RunNative(count, resume, &ns)) return false;
    redone += count;
  }
  if (seeks) Seek(variant, start, passes);
  if (!seeks && here != passes) Adopt(region_.after, variant.artifact);
  region_.passes.fetch_add(static_cast<uint64_t>(passes - redone), std::memory_order_relaxed);
  return redone * 4 < passes || Decline(RejectionReason::kNotANumber, kPassesAfterNaNs);
}

// The original goes on where the variant has seen that the loop is left, and leaves it.
void Entry::Leave(int64_t left, uint32_t* resume) {
  double ns = 0;
  (void)RunNative(std::min(chunk_passes_, left), resume, &ns);
}

// The variant, then the original, on the same slice, or so much of it as comes before the place where a search stops; the
// original's results stand.
bool Entry::VerifySlice(const Variant& variant, int64_t* wanted, uint32_t* resume) {
  jit::MachineState& before = region_.captured;  // not needed any more once a variant runs
  CopyState(state_, &before);
  if (!region_.variant_result.Reserve(region_.writes)) return Decline(RejectionReason::kTooMuchToKeep, *wanted);
  if (!RunVariant(variant, wanted, resume)) return false;
  const int64_t passes = *wanted;
  if (passes == 0) return true;
  region_.variant_result.Save(region_.writes, 0, 0, passes);
  region_.before.Restore(region_.writes, 0, 0, passes);
  CopyState(state_, &region_.after);
  CopyState(before, &state_);
  dirty_ = true;
  double ns = 0;
  if (!RunNative(passes, resume, &ns)) return false;

  uint64_t where = 0;
  const bool relaxed = variant.artifact.relaxed;
  double distance = 0;
  bool equal = relaxed ? region_.variant_result.IsClose(region_.writes, &where, &distance)
                       : region_.variant_result.Equals(region_.writes, &where);
  const auto same = [&](const void* original, const void* variants, size_t bytes, uint8_t float_bits) {
    if (std::memcmp(original, variants, bytes) == 0) return true;
    if (float_bits == jit::kNotComparable) return true;
    if (!relaxed || float_bits == 0 || bytes % (float_bits / 8) != 0) return false;
    const double apart = DistanceOf(static_cast<const uint8_t*>(original), static_cast<const uint8_t*>(variants), bytes / (float_bits / 8), float_bits);
    if (apart <= ClosenessOf(float_bits)) distance = std::max(distance, apart);
    return apart <= ClosenessOf(float_bits);
  };
  const jit::RegisterSet comparable = variant.artifact.comparable_at_header;
  for (int i = 0; i < jit::kGprCount && equal; ++i) {
    equal = !comparable.HasGpr(i) || state_.gpr[i] == region_.after.gpr[i];
  }
  for (int i = 0; i < jit::kVectorCount && equal; ++i) {
    const size_t bytes = VectorBytes(comparable, i);
    equal = !comparable.HasVector(i) || same(&state_.vector[i], &region_.after.vector[i], bytes, 64) ||
            same(&state_.vector[i], &region_.after.vector[i], bytes, 32);
  }
  for (int i = 0; i < jit::kMaskCount && equal; ++i) {
    equal = !comparable.HasMask(i) || state_.mask[i] == region_.after.mask[i];
  }
  for (size_t i = 0; i < slots_.size() && equal; ++i) {
    const uint8_t float_bits = relaxed && i < variant.artifact.float_slots.size() ? variant.artifact.float_slots[i] : 0;
    equal = !slots_[i].written || same(&state_.slot[i], &region_.after.slot[i], slots_[i].bytes, float_bits);
  }
  if (!equal) {
    region_.mismatches.fetch_add(1, std::memory_order_relaxed);
    region_.conflict_instruction.store(where, std::memory_order_relaxed);
    region_.mode.store(RegionMode::kHome, std::memory_order_release);
    return Decline(RejectionReason::kVerificationMismatch, INT64_MAX / 2);
  }
  region_.verified.fetch_add(1, std::memory_order_relaxed);
  if (distance > region_.distance.load(std::memory_order_relaxed)) region_.distance.store(distance, std::memory_order_relaxed);
  variant.trusted_slices += ns > kLongVerifiedNs ? kTrustAfter : 1;
  if (region_.verify == VerifyMode::kFirst && variant.trusted_slices >= kTrustAfter) {
    for (WriteCopy* copy : {&region_.before, &region_.variant_result}) {
      if (copy->capacity() > kLentBytes) copy->Release();
    }
  }
  region_.probe_again_ns = 0;  // caches and pages are warm now
  return true;
}

}  // namespace tracelift::offload

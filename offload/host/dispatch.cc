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

#include <algorithm>
#include <cmath>

#include "offload/host/entry.h"
#include "offload/host/memory_map.h"

namespace tracelift::offload {

using jit::RejectionReason;

namespace {

constexpr double kSliceNs = 4e6;         // a slice is about this long, so that signals wait no longer
constexpr double kLongestSliceNs = 25e6;
constexpr double kDeviceSliceNs = 100e6;  // each has to bring all that passes have in common to the device
constexpr double kDeviceGuess = 8;        // as many times as fast as the original, until it was measured
constexpr uint64_t kDeviceKeptBytes = 128 << 20;
constexpr double kVerifyNs = 300e3;      // slice that is computed both ways
constexpr uint64_t kKeptBytesPerThread = 512 << 10;  // what a slice keeps should stay in the cores' own caches
constexpr int kFruitlessEntries = 256, kLongestPauseAhead = 6;  // the same, where arrivals are entries
constexpr int kLongestPause = 12;  // as a power of two, in arrivals, after entries in a row that came to nothing
constexpr double kShortestEntryNs = 20e3;  // less work than this is left alone
constexpr int kProbeFirstEntries = 4;    // measure the original in these, then in every kProbeEvery-th entry
constexpr int kProbeEvery = 32;
constexpr int kSlicesPerTurnOfDevice = 4;
constexpr int kLostSlices = 3;           // in a row, after which the rest of the entry is the original's

int SlicesPerTurn(const Variant& variant, const Variant& rival) {
  return variant.artifact.kernel || rival.artifact.kernel ? kSlicesPerTurnOfDevice : 1;
}

}  // namespace

uint32_t Entry::Capture() {
  uint32_t resume = jit::kHeader;
  // An arrival that cannot be captured costs many times a pass of an interpreter's loop: fewer and fewer are looked at.
  const int earlier = region_.failed_captures++;
  image_.SkipNext(int64_t{64} << std::min(earlier, 24));
  if (!ReachHeader(&resume)) return resume;
  if (LoadState(region_.preview.slots)) {
    region_.captured = state_;
    region_.failed_captures = 0;
    region_.mode.store(RegionMode::kCaptured, std::memory_order_release);
    image_.SkipNext(INT64_MAX / 2);
  }
  return resume;
}

// The same mode as at the entry that the artifact was compiled for, and no exception that could trap.
bool Entry::FloatEnvironmentFits(const jit::Artifact& artifact) {
  if (!artifact.float_control) return true;
  const uint32_t mxcsr = jit::ContextMxcsr(context_);
  if (jit::TrapsFloats(mxcsr)) {
    region_.trapping_mxcsr.store(mxcsr, std::memory_order_relaxed);
    return Decline(RejectionReason::kFloatEnvironment, 64);
  }
  return jit::FloatControlOf(mxcsr) == *artifact.float_control || Decline(RejectionReason::kValuesKeepChanging, 1);
}

bool Entry::Decline(RejectionReason reason, int64_t skip) {
  region_.CountDecline(reason);
  if (!ArrivesWithEachPass()) {
    // The next arrival is another entry, and the largest may come behind hundreds that are too small.
    const int rows = LiesInTheEntry(reason) ? region_.fruitless_entries++ / kFruitlessEntries : 0;
    image_.SkipNext(rows == 0 ? 0 : int64_t{1} << std::min(kLongestPauseAhead, rows));
    return false;
  }
  // Entries too small, or for other values, come in thousands, while the session may be busy compiling: looked at ever less.
  if (LiesInTheEntry(reason)) skip = std::max(skip, int64_t{1} << std::min(kLongestPause, region_.fruitless_entries++ / 2));
  image_.SkipNext(skip);
  return false;
}

// About `target_ns` of work, but enough passes that no core idles long at the end of a slice: a multiple of the threads,
// eight batches for each unless that takes longer than a signal should wait. Where passes side by side leave no state, one
// single pass more does.
int64_t Entry::SlicePasses(double target_ns, int64_t left, const jit::Artifact& artifact) const {
  const int64_t batch = artifact.batch;
  const double cost = std::max(region_.costs.variant_ns > 0 ? region_.costs.variant_ns : region_.costs.native_ns, 0.01);
  const int64_t threads = region_.pool->threads() * batch;
  const auto within = [&](double ns) { return static_cast<int64_t>(std::min(ns / cost, 1e15)); };
  if (artifact.kernel) {
    const int64_t kept = region_.kept_per_pass > 0 ? static_cast<int64_t>(kDeviceKeptBytes / region_.kept_per_pass) : left;
    const int64_t wanted = within(region_.costs.variant_ns > 0 ? kDeviceSliceNs : kDeviceGuess * kDeviceSliceNs);
    return std::min(std::max<int64_t>(std::min(wanted, kept), 2), left);
  }
  const int64_t even = std::min(8 * threads, within(kLongestSliceNs));
  int64_t passes = std::max({within(target_ns), even, threads});
  if (region_.kept_per_pass > 0) {
    const auto kept = static_cast<uint64_t>(region_.pool->threads()) * kKeptBytesPerThread / region_.kept_per_pass;
    passes = std::max(threads, std::min(passes, static_cast<int64_t>(kept)));
  }
  passes -= passes % threads;
  return std::min(passes + (artifact.NeedsSinglePass() ? 1 : 0), left);
}

// Few passes, as what is left behind their lead is one core's work, but the same number of groups for each thread.
int64_t Entry::LeadPasses(const jit::Artifact& artifact, int64_t left) const {
  constexpr int64_t kGroupsPerThread = 2;
  return std::min(region_.pool->threads() * kGroupsPerThread * artifact.group, left);
}

// A slice that the original does too: short, but all ways through the variant, so a group of passes and a single one.
int64_t Entry::VerifiedPasses(int64_t left, int64_t group) const {
  const double cost = std::max(region_.costs.native_ns, 0.01);
  const int64_t passes = std::max(static_cast<int64_t>(std::min(kVerifyNs / cost, 1e15)), group + (group > 1 ? 1 : 0));
  return std::min(std::max<int64_t>(passes, region_.pool->threads()), left);
}

// The published variant, or when it has had its turn, its rival.
const Variant* Entry::Choose() const {
  const Variant* variant = region_.variant.load(std::memory_order_acquire);
  const Variant* rival = region_.rival.load(std::memory_order_acquire);
  if (!rival || (region_.last_run != variant && region_.last_run != rival)) return variant;
  const bool goes_on = region_.turn < SlicesPerTurn(*variant, *rival);
  return (region_.last_run == variant) == goes_on ? variant : rival;
}

bool Entry::IsReplaced(const Variant& variant) const {
  const bool is_first = losses_ == &region_.losses;
  return (is_first ? region_.variant : region_.on_cores).load(std::memory_order_relaxed) != &variant;
}

// What would lose on the device.
uint32_t Entry::RunOnCores(const Variant& variant, SignalMask mask, double start) {
  if (!FloatEnvironmentFits(variant.artifact)) return jit::kHeader;
  losses_ = &region_.losses_on_cores;
  region_.SwapEstimates();
  const uint32_t resume = RunFromHeader(variant, mask, start);
  region_.SwapEstimates();
  return resume;
}

uint32_t Entry::Run(const Variant& variant, SignalMask mask) {
  const double start = NowNs();
  uint32_t resume = jit::kHeader;
  if (!FloatEnvironmentFits(variant.artifact)) return jit::kDecline;
  if (!ReachHeader(&resume)) {  // left the loop on the way: this was its last pass
    Decline(RejectionReason::kTooLittleWork, 1);
    return resume;
  }
  return RunFromHeader(variant, mask, start);
}

uint32_t Entry::RunFromHeader(const Variant& variant, SignalMask mask, double start) {
  const jit::Artifact& artifact = variant.artifact;
  uint32_t resume = jit::kHeader;
  if (!LoadState(artifact.footprint.slots)) {
    Decline(RejectionReason::kUnmappedMemory, 64);
    return resume;
  }
  state_.module_base = artifact.module_bases;
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
  if (region_.entered != &variant) {
    region_.entered = &variant;
    region_.fruitless_entries = 0;
    region_.costs.variant_ns = 0;
    region_.costs.pass_iterations = 0;
    region_.costs_of_others = {};  // it may count iterations otherwise
    region_.probe_again_ns = 0;
  }
  ScaleEstimates(variant, left);
  const auto work_ns = [&] { return region_.costs.native_ns * static_cast<double>(left); };  // 0: not known
  // The last pass is the original's anyway.
  if (left < 1 || (work_ns() > 0 && work_ns() < kShortestEntryNs)) {
    Decline(RejectionReason::kTooLittleWork, std::min<int64_t>(left, 1 << 20));
    return resume;
  }
  if (!region_.only_on_device && losses_->Loses(work_ns(), region_.costs.pass_iterations)) {
    const Variant* on_cores = artifact.kernel ? region_.on_cores.load(std::memory_order_acquire) : nullptr;
    if (on_cores) return RunOnCores(*on_cores, mask, start);
    Decline(RejectionReason::kNotWorthwhile, std::min<int64_t>(left, 1 << 20));
    return resume;
  }
  const uint64_t entry = region_.costs.entries_seen++;
  const double prepared = NowNs();
  if (region_.costs.native_ns == 0 || entry < kProbeFirstEntries || entry % kProbeEvery == 0) {
    if (!ProbeNatively(variant, &left, &resume)) return resume;
    if (work_ns() < kShortestEntryNs) {
      Decline(RejectionReason::kTooLittleWork, std::min<int64_t>(left, 1 << 20));
      return resume;
    }
  }
  const double work_at_entry_ns = work_ns();

  double run_ns = prepared - start;  // the entry itself is part of the price
  int64_t run_passes = 0, done = 0;
  int lost_slices = 0;  // in a row
  bool good = true;
  while (good && left > 0) {
    const bool verify = region_.verify == VerifyMode::kAlways ||
                        (region_.verify == VerifyMode::kFirst && variant.trusted_slices < kTrustAfter);
    const double slice_ns = artifact.parts > 0 ? kLongestSliceNs : kSliceNs;  // a panel stays in the cache during a slice
    const bool leads = artifact.reliance.lead.loop > 0;
    int64_t passes = leads ? LeadPasses(artifact, left) : verify ? VerifiedPasses(left, artifact.group) : SlicePasses(slice_ns, left, artifact);
    const double slice_start = NowNs();
    if (!CheckSlice(variant, &passes)) {
      double ns = 0;
      good = passes > 0 && RunNative(passes, &resume, &ns);
      if (good) left -= passes;
      if (resume != jit::kHeader) return resume;
      continue;
    }
    const double worth = worth_ns_;
    good = PlanToKeep(variant, passes, left, verify) &&
           (verify ? VerifySlice(variant, &passes, &resume) : RunVariant(variant, &passes, &resume));
    if (verify) worth_ns_ = worth + (NowNs() - slice_start);
    if (!verify && good) worth_ns_ = worth + region_.costs.native_ns * static_cast<double>(passes);
    if (resume != jit::kHeader) return resume;  // verifying, the original left the loop: it is right by definition
    if (!good) break;
    left -= passes;
    if (done == 0 && region_.first_run_ns.load(std::memory_order_relaxed) == 0) {
      region_.first_run_ns.store(NowNs(), std::memory_order_relaxed);
    }
    done += passes;
    if (stops_) Leave(left, &resume);
    if (!verify) {
      const double took_ns = NowNs() - slice_start;
      run_ns += took_ns;
      run_passes += passes;
      if (stops_) break;  // perhaps ahead of the first pass: nothing to learn from
      RecordSlice(variant, AsInFirstEntry(took_ns / static_cast<double>(passes)));
      const double native_ns = region_.costs.native_ns;
      bool lost = took_ns > native_ns * static_cast<double>(passes);
      const bool probe = left > 1 && (lost || NowNs() > region_.probe_again_ns);
      if (probe) good = ProbeNatively(variant, &left, &resume);
      if (probe && lost) {  // passes may just have become longer: those next to it tell
        const double worth_more_ns = (region_.costs.native_ns - native_ns) * static_cast<double>(passes);
        worth_ns_ += std::max(worth_more_ns, 0.0);
        lost = took_ns > region_.costs.native_ns * static_cast<double>(passes);
      }
      lost_slices = lost ? lost_slices + 1 : 0;
      if (good && lost_slices == kLostSlices && left > 1 && !region_.only_on_device) {  // an entry can be the whole program
        good = Decline(RejectionReason::kNotWorthwhile, left);
      }
    }
    // The next arrival enters another variant.
    const bool replaced = IsReplaced(variant) || (!verify && HasRival());
    if (stops_ || (good && left > 0 && (replaced || !SlotsStand(artifact) || SignalWaits(mask)))) break;
  }
  CommitState();
  if (done > 0) {
    region_.executions.fetch_add(1, std::memory_order_relaxed);
    if (losses_ != &region_.losses) region_.executions_on_cores.fetch_add(1, std::memory_order_relaxed);
    region_.fruitless_entries = 0;
  }
  if (run_passes > 0) RecordRun(work_at_entry_ns, run_ns, run_passes);
  if (stops_ && done == 0) Decline(RejectionReason::kTooLittleWork, 0);
  if (good && resume == jit::kHeader && ArrivesWithEachPass()) image_.SkipNext(1);  // the last pass is the original's
  return resume;
}

// Where inner loops are longer than at the last entry, passes cost more: about in proportion where they are not much longer.
// Else what was measured of such passes holds, or this is the first entry of them, which measures.
void Entry::ScaleEstimates(const Variant& variant, int64_t left) {
  if (left < 1) return;
  const double now = jit::IterationsPerPass(variant.artifact.footprint, state_, left);
  PassCosts& costs = region_.costs;
  const auto stored = [&](double iterations) -> PassCosts& {
    const int most = static_cast<int>(region_.costs_of_others.size()) - 1;
    return region_.costs_of_others[static_cast<size_t>(std::clamp(std::ilogb(std::max(iterations, 1.0)), 0, most))];
  };
  PassCosts& known = stored(now);
  if (costs.pass_iterations > 0 && &stored(costs.pass_iterations) != &known) {
    stored(costs.pass_iterations) = costs;
    costs.entries_seen = 0;
    if (known.pass_iterations > 0) costs = known;
  }
  if (costs.pass_iterations > 0) {
    costs.native_ns *= now / costs.pass_iterations;
    costs.variant_ns *= now / costs.pass_iterations;
  }
  costs.pass_iterations = now;
  if (region_.first_iterations == 0) region_.first_iterations = now;
  if (costs.variant_ns == 0) costs.variant_ns = variant.last_pass_ns * now / region_.first_iterations;
}

double Entry::AsInFirstEntry(double pass_ns) const {
  return pass_ns * region_.first_iterations / region_.costs.pass_iterations;
}

// What passes cost can change a lot on the way through the data, so rivals are compared by slices next to each other: the last of a turn
// with the last of the turn before. On a device the first ones of a turn bring it what the cores have written.
void Entry::RecordSlice(const Variant& variant, double pass_ns) {
  const Variant* published = region_.variant.load(std::memory_order_relaxed);
  variant.slices.Add(pass_ns);
  variant.last_pass_ns = pass_ns;
  if (region_.last_run != &variant) {
    region_.turn_before_ns = region_.last_run ? region_.last_run_ns : 0;
    region_.turn = 0;
  }
  ++region_.turn;
  const Variant* rival = region_.rival.load(std::memory_order_acquire);
  const double before_ns = region_.turn_before_ns;
  const bool took_turns = rival && before_ns > 0 && region_.turn == SlicesPerTurn(*published, *rival);
  if (took_turns) region_.rival_ratio.Add(&variant == published ? before_ns / pass_ns : pass_ns / before_ns);
  region_.last_run = &variant;
  region_.last_run_ns = pass_ns;
}

void Entry::RecordRun(double work_ns, double ns, int64_t passes) {
  region_.costs.variant_ns = ns / static_cast<double>(passes);
  if (losses_ == &region_.losses) region_.variant_timing.Add(AsInFirstEntry(region_.costs.variant_ns));
  region_.variant_time_ns.fetch_add(static_cast<uint64_t>(ns), std::memory_order_relaxed);
  const double saved = (region_.costs.native_ns - region_.costs.variant_ns) * static_cast<double>(passes);
  if (saved > 0) region_.time_saved_ns.fetch_add(static_cast<uint64_t>(saved), std::memory_order_relaxed);
  // Where a search stops says nothing about the next one, and in a contest one of two loses.
  if (!stops_ && !HasRival()) losses_->Add(work_ns, saved <= 0, region_.costs.pass_iterations);
  region_.last_range_count = std::min<size_t>(range_count_, Region::kMaxRanges);
  std::copy_n(ranges_, region_.last_range_count, region_.last_ranges.begin());
  region_.last_end_ns = static_cast<uint64_t>(NowNs());
}

namespace {

uint32_t Enter(Region& region, jit::RegionImage& image, jit::SavedContext* context) {
  const RegionMode mode = region.mode.load(std::memory_order_acquire);
  if (mode == RegionMode::kCaptured || mode == RegionMode::kHome) {
    image.SkipNext(INT64_MAX / 2);
    return jit::kDecline;
  }
  // What dispatch and the deepest chunk need below here; threads and coroutines can have less.
  constexpr uint64_t kStackBytes = 48 << 10;
  const auto stack = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  const jit::ByteRange room{stack - kStackBytes, stack, true};
  if (!RangesUsable({&room, 1})) {
    region.CountDecline(RejectionReason::kSmallStack);
    image.SkipNext(1 << 16);
    return jit::kDecline;
  }
  if (region.busy.exchange(true, std::memory_order_acquire)) {
    image.SkipNext(image.place() == jit::PatchPlace::kInLoop ? 64 : 0);  // another thread is in it; look again a little later
    return jit::kDecline;
  }
  const SignalMask mask = BlockAllSignals();
  const double start = NowNs();
  uint32_t resume = jit::kDecline;
  Entry entry(region, image, *context);
  if (region.mode.load(std::memory_order_acquire) == RegionMode::kCapture) {
    resume = entry.Capture();
  } else if (const Variant* variant = entry.Choose()) {
    resume = entry.Run(*variant, mask);
  }
  region.gain_ns.fetch_add(static_cast<int64_t>(entry.worth_ns() - (NowNs() - start)), std::memory_order_relaxed);
  region.busy.store(false, std::memory_order_release);
  RestoreSignals(mask);  // a waiting signal is taken here, with nothing of ours held
  return resume;
}

}  // namespace

uint32_t Dispatch(void* cookie, jit::SavedContext* context) {
  auto& region = *static_cast<Region*>(cookie);
  return Enter(region, *region.image, context);
}

uint32_t DispatchAhead(void* cookie, jit::SavedContext* context) {
  auto& region = *static_cast<Region*>(cookie);
  return Enter(region, *region.ahead, context);
}

std::vector<double> TimingRing::Sorted() const {
  const size_t used = std::min<uint64_t>(count(), kSize);
  std::vector<double> values(used);
  for (size_t i = 0; i < used; ++i) values[i] = values_[i].load(std::memory_order_relaxed);
  std::sort(values.begin(), values.end());
  return values;
}

double TimingRing::Median() const {
  const std::vector<double> values = Sorted();
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace tracelift::offload

// The native clone: runs passes of the original on real progress, and tells what they cost.
#include <algorithm>

#include "offload/host/entry.h"

namespace tracelift::offload {
namespace {

constexpr double kProbeNs = 50e3;        // measure the original for about this long
constexpr double kShortestProbeNs = 10e3;  // a run much shorter only measures its own overhead
constexpr double kCloneEntryNs = 600;    // saving and restoring the register file around the clone, measured
constexpr double kProbeAgainNs = 500e6;  // within one long entry; the first probe meets cold caches and fresh pages
constexpr double kProbeAgainPasses = 200;  // but not more often than this
constexpr double kMostlyPass = 2;

// What a pass costs. A run that is mostly the price of entering the clone tells no more than that a pass costs less: an
// entry with more work will be measured again.
double CostOfPass(double ns, double entering_ns, int64_t passes) {
  const bool tells = ns > kMostlyPass * entering_ns;
  return (tells ? ns - entering_ns : ns) / static_cast<double>(passes);
}

}  // namespace

// Runs the original for `passes` passes (fewer when it leaves the loop: then false).
bool Entry::RunNative(int64_t passes, uint32_t* resume, double* ns) {
  CommitState();
  const double start = NowNs();
  const jit::RegionImage::NativeRun run = image_.RunFromHeader(&context_, passes);
  *ns = NowNs() - start;
  worth_ns_ += *ns;
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
    region_.costs.native_ns = CostOfPass(ns, std::min(first_ns, kCloneEntryNs), passes);
  }
  if (total == 0) return true;
  if (longest == 0) region_.costs.native_ns = CostOfPass(first_ns, kCloneEntryNs, 1);
  region_.native_timing.Add(AsInFirstEntry(region_.costs.native_ns));
  region_.native_time_ns.fetch_add(static_cast<uint64_t>(spent), std::memory_order_relaxed);
  region_.native_passes.fetch_add(static_cast<uint64_t>(total), std::memory_order_relaxed);
  return true;
}

// Measures the original on the next passes and updates how many are left; false when the entry is over.
bool Entry::ProbeNatively(const Variant& variant, int64_t* left, uint32_t* resume) {
  const double known = region_.costs.native_ns;
  const auto enough = known == 0 ? *left : std::max(*left / 16, static_cast<int64_t>(std::min(kShortestProbeNs / known, 1e12)));
  const int64_t limit = std::clamp<int64_t>(enough, 1, *left);
  // A range that faults must fault in the original, where a handler of the program expects it.
  if (!DescribeSlice(variant, limit) || !ProbeNative(limit, resume)) return false;
  region_.probe_again_ns = NowNs() + std::max(kProbeAgainNs, kProbeAgainPasses * region_.costs.native_ns);
  const auto now_left = jit::EvaluateTripCount(variant.artifact.footprint, state_);
  if (!now_left) return false;
  *left = *now_left;
  return *left >= 1;
}

}  // namespace tracelift::offload

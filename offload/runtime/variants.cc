// A region's variants: loaded, published, and measured against each other.
//
// Code that puts iterations side by side in vectors is up to many times faster than the loop as it is, or slower, and
// what decides that (how far lanes part, what gathers and masks cost on this processor) is not known before it runs. So
// where such code is not clearly ahead, its rival, passes in one lane each, is compiled while it runs. Then they take
// turns, slice by slice, on the program's own data, and the one whose passes take less in slices next to each other
// stays. The cache finds the winner first in later runs.
//
// A loop that calls a lot takes long to compile, two or three times as long in lanes, and these often end up waiting for each other. So there passes
// in one lane come first, and lanes when the time saved has paid for them.

#include <fmt/format.h>

#include "offload/runtime/clock.h"
#include "offload/runtime/session.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kEnoughSlices = 5;
constexpr uint64_t kEnoughTurns = 9, kEnoughTurnsOfDevice = 3;
constexpr double kWorthADeviceNs = 20e6;     // of an entry's work: less is not worth a launch
constexpr double kLongestContestMs = 400, kLongestContestOfDeviceMs = 4000;  // entries may have become rare, or not fit any more
constexpr double kClearGainPerThread = 1.6;  // against the original: more than cores alone would bring

constexpr int64_t kManyCalled = 400;         // instructions
constexpr double kShareForCompiling = 0.1;   // of the time saved
constexpr double kNsPerCalled = 0.2e6;       // for each of these instructions lanes take to compile

bool PutsIterationsSideBySide(const jit::Artifact& artifact) {
  return artifact.lanes > 0 && artifact.panel == 0 && artifact.parts == 0;
}

}  // namespace

// Null when it cannot be loaded; the finding is rejected then.
const Variant* Session::AddVariant(Finding& finding, jit::Artifact artifact) {
  auto function = loader_->Load(artifact);
  if (!function) {
    finding.region->mode.store(RegionMode::kHome, std::memory_order_release);
    Reject(finding, {jit::RejectionReason::kCompilerFailed, finding.address, function.error()});
    return nullptr;
  }
  auto variant = std::make_unique<Variant>();
  if (artifact.kernel) {
    auto number = device_->Load(*artifact.kernel);
    if (!number && !only_device_) {
      Note(fmt::format("{:#x}: {} does not take its kernel: {}", finding.address, device_->name(), number.error()));
      return nullptr;
    }
    if (!number) {
      finding.region->mode.store(RegionMode::kHome, std::memory_order_release);
      Reject(finding, {jit::RejectionReason::kNoKernel, finding.address, number.error()});
      return nullptr;
    }
    variant->kernel = *number;
    finding.region->device = copies_.load();
  }
  variant->artifact = std::move(artifact);
  variant->function = *function;
  if (config_->log > 1 && !variant->artifact.ir.empty()) {
    Note(variant->artifact.ir);
    Note(jit::Print(variant->artifact.footprint));
  }
  const std::lock_guard lock(mutex_);
  const jit::CompileTimes& times = variant->artifact.times;
  finding.times.lift_ns += times.lift_ns;
  finding.times.analyse_ns += times.analyse_ns;
  finding.times.optimise_ns += times.optimise_ns;
  finding.times.emit_ns += times.emit_ns;
  finding.code.push_back(jit::LoadedCode(variant->artifact, variant->function));  // its samples are the region's
  finding.variants.push_back(std::move(variant));
  return finding.variants.back().get();
}

void Session::Publish(Finding& finding, const Variant& variant) {
  Region& region = *finding.region;
  region.variant_timing.Clear();
  region.rival.store(nullptr, std::memory_order_relaxed);
  region.variant.store(&variant, std::memory_order_release);
  region.on_cores.store(variant.artifact.kernel ? OnCores(finding) : nullptr, std::memory_order_release);
  region.mode.store(RegionMode::kRun, std::memory_order_release);
  finding.Image().SkipNext(0);
}

bool Session::BeginsPlain(const Finding& finding) const { return finding.callee_instructions > kManyCalled; }

bool Session::MayContest(const Finding& finding, const Variant& variant) const {
  if (variant.artifact.kernel) return false;
  if (PutsIterationsSideBySide(variant.artifact)) return true;
  if (!BeginsPlain(finding) || !variant.artifact.plain) return false;
  double saved_ns = 0, compiled_ns = kNsPerCalled * static_cast<double>(finding.callee_instructions);
  for (const Finding& other : findings_) {
    compiled_ns += static_cast<double>(other.times.total_ns());
    if (other.region) saved_ns += static_cast<double>(other.region->time_saved_ns.load(std::memory_order_relaxed));
  }
  return kShareForCompiling * saved_ns > compiled_ns;
}

// The published variant's rival was made, and takes turns with it from now on.
bool Session::OpenContest(Finding& finding) {
  Region& region = *finding.region;
  const Variant& variant = *region.variant.load(std::memory_order_relaxed);
  if (!MayContest(finding, variant) || variant.slices.count() == 0) return false;
  if (!finding.contested.insert(&variant).second) return false;
  return AddRival(finding, Compile(finding, /*plain=*/!variant.artifact.plain, jit::KernelTarget::kNone));
}

bool Session::AddRival(Finding& finding, CompileCache::Result artifact) {
  if (!artifact) return false;
  Region& region = *finding.region;
  const bool on_device = artifact->kernel.has_value();
  const Variant* rival = AddVariant(finding, std::move(*artifact));
  if (!rival) return false;
  finding.contested.insert(rival);
  region.rival_ratio.Clear();
  region.ForgiveLosses();
  finding.contest_ends_ms = NowMs() + (on_device ? kLongestContestOfDeviceMs : kLongestContestMs);
  region.rival.store(rival, std::memory_order_release);
  finding.Image().SkipNext(0);
  return true;
}

// Code for the cores against the device, once, where an entry has enough work for both.
bool Session::OpenDeviceContest(Finding& finding) {
  const Region& region = *finding.region;
  const Variant& variant = *region.variant.load(std::memory_order_relaxed);
  const double executions = static_cast<double>(std::max<uint64_t>(1, region.executions.load(std::memory_order_relaxed)));
  const double entry_ns = static_cast<double>(region.variant_time_ns.load(std::memory_order_relaxed)) / executions;
  const bool long_enough = entry_ns > kWorthADeviceNs || (region.busy.load(std::memory_order_relaxed) && variant.slices.count() >= 2 * kEnoughSlices);
  if (finding.tried_on_device || variant.artifact.kernel || !long_enough) return false;
  finding.tried_on_device = true;
  const jit::KernelTarget kernels = KernelsOfDevice();
  return kernels != jit::KernelTarget::kNone && AddRival(finding, Compile(finding, /*plain=*/false, kernels));
}

// Opens contests for variants that are not clearly ahead of the original, and ends those in which enough was seen.
void Session::SuperviseContest(Finding& finding) {
  Region& region = *finding.region;
  const Variant& variant = *region.variant.load(std::memory_order_relaxed);
  const Variant* rival = region.rival.load(std::memory_order_relaxed);
  if (!rival) {
    const double clearly = kClearGainPerThread * pool_->threads();
    const bool seen = variant.slices.count() >= kEnoughSlices;
    if (seen && region.native_timing.Median() < clearly * variant.slices.Median() && OpenContest(finding)) return;
    if (seen && !device_name_.empty() && !only_device_) OpenDeviceContest(finding);
    return;
  }
  const bool decided = region.rival_ratio.count() >= (rival->artifact.kernel ? kEnoughTurnsOfDevice : kEnoughTurns);
  if (!decided && NowMs() < finding.contest_ends_ms) return;
  const double ratio = decided ? region.rival_ratio.Median() : 1;
  if (config_->log > 0 && rival->artifact.kernel) {
    Note(fmt::format("{:#x}: a pass takes {:.2f} times as long on {} as on the cores", finding.address, ratio, device_->name()));
  } else if (config_->log > 0) {
    const bool plain_first = variant.artifact.plain;
    Note(fmt::format("{:#x}: a pass takes {:.2f} times as long in one lane as in {}", finding.address, plain_first ? 1 / ratio : ratio,
                     plain_first ? rival->artifact.lanes : variant.artifact.lanes));
  }
  const Variant& winner = ratio < 1 ? *rival : variant;
  if (cache_ && decided && !rival->artifact.kernel) cache_->Prefer(RequestFor(finding, {}, jit::KernelTarget::kNone), winner.artifact);
  Publish(finding, winner);
  finding.upkeep.Open(TallyOf(finding));
}

}  // namespace tracelift::offload

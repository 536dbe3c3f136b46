// How a loop is taken over: the outermost liftable nest around the heat first, falling back inward.
//
//   preview (cheap checks) -> patch, first arrival captures the registers -> unpatch -> compile for them -> patch.
// Unpatching while the compiler works keeps the original at full speed; a rejected loop is never patched again.

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <utility>

#include "offload/runtime/clock.h"
#include "offload/runtime/session.h"

namespace tracelift::offload {
namespace {

constexpr double kCaptureMs = 25;       // longer than this between arrivals: go on with the inner loops meanwhile
constexpr double kTrialMs = 150;        // then the inner loops are tried, too, unless it wins
constexpr int kMostRecompiles = 3;      // for values that change
constexpr uint64_t kManyDeclines = 8;   // without one execution
constexpr uint64_t kFewDeclines = 2;    // the same, for reasons that lie in the loop's structure
constexpr uint64_t kSmallEntries = 32;  // the same, for reasons that another entry need not have
constexpr uint64_t kManyEntries = 16;   // that were looked at: the loop is entered over and over
constexpr double kUnreachedMs = 200;
constexpr int kPatience = 5;  // rests in a row; then it is put back for good

EntryCounts CountEntries(const Region& region) {
  EntryCounts counts;
  counts.executions = region.executions.load(std::memory_order_relaxed);
  for (size_t i = 0; i < counts.declines.size(); ++i) counts.declines[i] = region.decline_reasons[i].load(std::memory_order_relaxed);
  return counts;
}

// The reason most entries since `before` were left to the original for, when that were more than were taken over.
jit::RejectionReason MostFrequentDecline(const Region& region, const EntryCounts& before, jit::RejectionReason otherwise) {
  const EntryCounts now = CountEntries(region);
  const auto since = [&](size_t reason) { return now.declines[reason] - before.declines[reason]; };
  size_t most = 0;
  for (size_t i = 0; i < now.declines.size(); ++i) {
    if (since(i) > since(most)) most = i;
  }
  return since(most) > now.executions - before.executions ? static_cast<jit::RejectionReason>(most) : otherwise;
}

// How many entries without an execution say that there will be none.
uint64_t DeclinesEnough(jit::RejectionReason reason) {
  if (LiesInTheEntry(reason)) return kSmallEntries;
  switch (reason) {
    case jit::RejectionReason::kDependentIterations:
    case jit::RejectionReason::kUnknownTripCount:
    case jit::RejectionReason::kIndirectAddress: return kFewDeclines;
    default: return kManyDeclines;
  }
}

// The places whose guards failed are not folded into code again.
void NoteUnsteady(Finding& finding) {
  const Variant& variant = *finding.region->variant.load(std::memory_order_relaxed);
  const std::vector<jit::Guard>& guards = variant.artifact.guards;
  const uint64_t failed = finding.region->failed_guards.exchange(0, std::memory_order_relaxed);
  for (size_t i = 0; i < guards.size(); ++i) {
    if (failed >> i % 64 & 1) finding.unsteady.push_back(guards[i]);
  }
}

bool EarnsItsKeep(Finding& finding) {
  const Region& region = *finding.region;
  if (region.verify == VerifyMode::kAlways || region.only_on_device) return true;  // on request, every slice is computed twice, or elsewhere
  return finding.upkeep.MayStay(TallyOf(finding), region.busy.load(std::memory_order_relaxed));
}

}  // namespace

Tally TallyOf(const Finding& finding) {
  return {NowMs(), finding.region->gain_ns.load(std::memory_order_relaxed), finding.Image().arrivals()};
}

// As the program has it now: sigaction is the preload library's, which tells the program's own handlers.
jit::PatchRules Session::Rules() const {
  const auto handled = [](int signo) {
    struct sigaction action{};
    return sigaction(signo, nullptr, &action) == 0 && action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
  };
  return {.allow_trap = host_->sigtrap_usable() != 0, .avoid_faults = handled(SIGSEGV) || handled(SIGBUS) || handled(SIGFPE)};
}

Finding& Session::AddFinding(uint64_t address, std::vector<jit::AddressRange> code) {
  const std::lock_guard lock(mutex_);
  Finding& finding = findings_.emplace_back();
  finding.address = address;
  finding.code = std::move(code);
  finding.relaxed = config_->relaxed_math != 0 && !only_device_;
  return finding;
}

void Session::Reject(Finding& finding, jit::Rejection rejection) {
  if (config_->log > 1) Note(fmt::format("{:#x}: {}", finding.address, jit::Describe(rejection)));
  const std::lock_guard lock(mutex_);
  finding.rejection = std::move(rejection);
}

bool Session::TryChildren(Function& function, jit::LoopId parent) {
  bool any = false;
  const std::vector<jit::LoopInfo>& loops = function.code->loops();
  for (size_t i = 0; i < loops.size(); ++i) {
    if (loops[i].parent != parent || !IsHot(hotspots_.In(loops[i].blocks))) continue;
    any |= TryLoop(function, static_cast<jit::LoopId>(i));
  }
  return any;
}

// The loop with all that installing it takes: checked, its stub and its native clone built.
std::expected<std::unique_ptr<Region>, jit::Rejection> Session::PrepareRegion(std::shared_ptr<const jit::FunctionCode> code, jit::LoopId loop) {
  auto preview = jit::PreviewLoop(*code, loop);
  if (!preview) return std::unexpected(preview.error());
  auto region = std::make_unique<Region>();
  region->code = std::move(code);
  region->loop = loop;
  region->preview = std::move(*preview);
  region->pool = pool_;
  region->only_on_device = only_device_;
  region->verify = static_cast<VerifyMode>(config_->verify);
  if (config_->profile_only) return region;
  auto image = jit::RegionImage::Build(*region->code, loop, near_memory_, Rules(), &Dispatch, region.get());
  if (!image) return std::unexpected(image.error());
  region->image = std::move(*image);
  return region;
}

bool Session::TryLoop(Function& function, jit::LoopId loop) {
  if (!function.tried.insert(static_cast<int>(loop)).second) return IsOnTrial(function, loop) || TryChildren(function, loop);
  const jit::LoopInfo& info = function.code->loops()[static_cast<size_t>(loop)];
  Finding& finding = AddFinding(info.header, info.blocks);

  const auto code = jit::WithCallees(reader_, *function.code, loop);
  finding.callee_instructions = code->loops()[static_cast<size_t>(loop)].instruction_count - info.instruction_count;
  auto region = PrepareRegion(code, loop);
  if (!region) {
    Reject(finding, region.error());
    return TryChildren(function, loop);
  }
  if (config_->profile_only) return false;
  {
    const std::lock_guard lock(mutex_);
    finding.code.push_back((*region)->image->code());
    finding.region = std::move(*region);
  }
  const std::vector<Finding*> aside = StepAside();
  if (auto installed = patcher_->Install(finding.Image()); !installed) {
    StepBack(aside);
    Reject(finding, installed.error());
    return TryChildren(function, loop);
  }
  finding.patched = true;
  const bool captured = WaitForCapture(finding, kCaptureMs);
  StepBack(aside);
  if (!captured) {
    finding.awaiting_capture = true;
    return TryChildren(function, loop);
  }
  return CompileAndPublish(finding) || TryChildren(function, loop);
}

bool Session::WaitForCapture(Finding& finding, double ms) {
  const double deadline = NowMs() + ms;
  const std::atomic<RegionMode>& mode = finding.region->mode;
  const auto is_captured = [&] { return mode.load(std::memory_order_acquire) == RegionMode::kCaptured; };
  while (!is_captured() && NowMs() < deadline) Observe(0.2);
  return is_captured();
}

// Some patched region has cost more than it brought so far.
bool Session::OnProbation() const {
  return std::ranges::any_of(findings_, [](const Finding& finding) {
    return finding.patched && !finding.awaiting_capture && finding.upkeep.BalanceNs(TallyOf(finding)) < 0;
  });
}

// What was hot until now says nothing about it.
void Session::BeginTrial(Finding& finding) {
  const Region& region = *finding.region;
  finding.trial_ms = NowMs();
  finding.samples_before = hotspots_.In(region.code->loops()[static_cast<size_t>(region.loop)].blocks);
  finding.all_samples_before = hotspots_.total();
}

// A loop that was just taken over, wins, or keeps the original's code from being hot any more: loops in it are for what it leaves to
// the original. Compiled at once they would keep it out of the program for longer than many a program runs.
bool Session::IsOnTrial(const Function& function, jit::LoopId loop) const {
  const uint64_t samples = hotspots_.In(function.code->loops()[static_cast<size_t>(loop)].blocks);
  return std::ranges::any_of(findings_, [&](const Finding& finding) {
    const bool first_capture = finding.awaiting_capture && finding.recompiles == 0;
    if (!finding.patched || first_capture || finding.region->loop != loop) return false;
    if (finding.region->code->bounds().begin != function.code->bounds().begin) return false;
    if (NowMs() < finding.trial_ms + kTrialMs || finding.upkeep.HasProved(TallyOf(finding))) return true;
    return !IsHot(samples - std::min(samples, finding.samples_before), hotspots_.total() - finding.all_samples_before);
  });
}

// While the session waits or compiles nobody looks after regions: those that have not brought anything yet are out of
// the way.
std::vector<Finding*> Session::StepAside() {
  std::vector<Finding*> aside;
  for (Finding& finding : findings_) {
    if (!finding.patched || finding.upkeep.HasProved(TallyOf(finding))) continue;
    (void)patcher_->Remove(finding.Image());
    finding.patched = false;
    aside.push_back(&finding);
  }
  return aside;
}

void Session::StepBack(const std::vector<Finding*>& aside) {
  for (Finding* finding : aside) {
    if (auto installed = patcher_->Install(finding->Image()); !installed) {
      Reject(*finding, installed.error());
      continue;
    }
    finding->patched = true;
    finding->upkeep.Open(TallyOf(*finding));
    BeginTrial(*finding);
  }
}

// The region has captured its registers: compile for them, and take the loop over or put it back for good.
bool Session::CompileAndPublish(Finding& finding) {
  Region& region = *finding.region;
  (void)patcher_->Remove(finding.Image());
  finding.patched = false;
  finding.awaiting_capture = false;
  if (!loader_) {
    auto loader = jit::CodeLoader::Create(reader_.vector_math().symbols());
    if (!loader) {
      Reject(finding, {jit::RejectionReason::kCompilerFailed, finding.address, loader.error()});
      return false;
    }
    loader_ = std::move(*loader);
  }
  const std::vector<Finding*> aside = StepAside();
  finding.seen = region.captured;
  const jit::KernelTarget kernels = only_device_ ? KernelsOfDevice() : jit::KernelTarget::kNone;
  const bool nowhere = only_device_ && kernels == jit::KernelTarget::kNone;
  CompileCache::Result artifact = nowhere ? std::unexpected(jit::Rejection{jit::RejectionReason::kNoKernel, finding.address, no_device_})
                                          : Compile(finding, BeginsPlain(finding), kernels);
  StepBack(aside);
  if (!artifact) {
    region.mode.store(RegionMode::kHome, std::memory_order_release);
    Reject(finding, artifact.error());
    return false;
  }
  const Variant* variant = AddVariant(finding, std::move(*artifact));
  if (!variant) return false;
  Publish(finding, *variant);
  KeepKernel(finding);
  if (auto installed = patcher_->Install(finding.Image()); !installed) {
    Reject(finding, installed.error());
    return false;
  }
  finding.patched = true;
  Observe(0);  // compiling took a while
  BeginTrial(finding);
  finding.entries_before = CountEntries(region);
  ForgiveLosses();
  if (config_->log > 0) Note(fmt::format("{:#x}: installed", finding.address));
  return true;
}

// We took a core from whatever ran meanwhile: that says nothing about regions.
void Session::ForgiveLosses() {
  for (Finding& finding : findings_) {
    if (!finding.patched || finding.awaiting_capture) continue;
    finding.upkeep.Open(TallyOf(finding));
    finding.region->ForgiveLosses();
  }
}

void Session::PutBack(Finding& finding, jit::RejectionReason reason, uint64_t address) {
  finding.region->mode.store(RegionMode::kHome, std::memory_order_release);
  if (finding.patched) (void)patcher_->Remove(finding.Image());
  finding.patched = false;
  const jit::FunctionCode& code = *finding.region->code;
  const bool traps = reason == jit::RejectionReason::kFloatEnvironment;
  const uint32_t mxcsr = finding.region->trapping_mxcsr.load(std::memory_order_relaxed);
  Reject(finding, {reason, address != 0 ? address : finding.address, traps ? jit::DescribeFloatEnvironment(mxcsr) : ""});
  if (Function* function = FunctionAt(code.bounds().begin)) TryChildren(*function, finding.region->loop);
}

// Many entries, of which some are worth it: what costs are the arrivals of the others' passes. So it is patched ahead of the loop,
// where only entries arrive. A loop that runs once for the whole program has no other entry: it stays patched inside.
bool Session::MoveAhead(Finding& finding) {
  Region& region = *finding.region;
  const EntryCounts counts = CountEntries(region);
  if (finding.ahead || region.ahead || counts.executions == 0 || counts.executions + counts.Declines() < kManyEntries) return false;
  const jit::FunctionCode& code = *region.code;
  auto image = jit::RegionImage::Build(code, region.loop, near_memory_, Rules(), &DispatchAhead, &region,
                                       jit::PatchPlace::kAhead);
  if (!image || IsPatchedBy(**image, finding)) return false;
  {
    const std::lock_guard lock(mutex_);
    finding.code.push_back((*image)->code());
    region.ahead = std::move(*image);
  }
  return Move(finding, /*ahead=*/true);
}

// Another region's patch lies there, or will again.
bool Session::IsPatchedBy(const jit::RegionImage& image, const Finding& finding) const {
  const uint64_t begin = image.patch_site(), end = begin + image.expected_bytes().size();
  return std::ranges::any_of(findings_, [&](const Finding& other) {
    if (!other.region || !other.region->image || &other == &finding) return false;
    const uint64_t site = other.Image().patch_site();
    return site < end && begin < site + other.Image().expected_bytes().size();
  });
}

// Whoever is in the loop, or came through the other patch, goes on as before.
bool Session::Move(Finding& finding, bool ahead) {
  (void)patcher_->Remove(finding.Image());
  finding.ahead = ahead;
  finding.moved_ms = NowMs();
  finding.region->ForgiveLosses();
  finding.Image().SkipNext(0);
  if (auto installed = patcher_->Install(finding.Image()); !installed) {
    if (!ahead) return Reject(finding, installed.error()), false;
    return Move(finding, false), false;
  }
  finding.upkeep.Open(TallyOf(finding));
  if (config_->log > 0) Note(fmt::format("{:#x}: patched {} the loop", finding.address, ahead ? "ahead of" : "in"));
  return true;
}

// Nobody comes by the patch ahead of it: the loop runs on and on.
bool Session::MissesItsLoop(const Finding& finding) const {
  return finding.ahead && finding.region->ahead->arrivals() == 0 && NowMs() - finding.moved_ms > kUnreachedMs;
}

// From the device to the cores, where it did better before.
bool Session::ComesHome(Finding& finding) {
  const Variant* variant = finding.region->variant.load(std::memory_order_relaxed);
  const Variant* on_cores = variant && variant->artifact.kernel ? OnCores(finding) : nullptr;
  if (!on_cores) return false;
  Publish(finding, *on_cores);
  finding.upkeep.Open(TallyOf(finding));
  return true;
}

// Out of the program's way for a while; for good when that was tried often.
void Session::Rest(Finding& finding) {
  Region& region = *finding.region;
  if (OpenContest(finding)) return finding.upkeep.Open(TallyOf(finding));
  if (finding.upkeep.rests() == kPatience) {
    return PutBack(finding, MostFrequentDecline(region, {}, jit::RejectionReason::kNotWorthwhile));
  }
  (void)patcher_->Remove(finding.Image());
  finding.patched = false;
  const Tally now = TallyOf(finding);
  const double balance_ns = finding.upkeep.BalanceNs(now), rest_ms = finding.upkeep.NextRestMs(now);
  finding.rest_until_ms = now.now_ms + rest_ms;
  if (config_->log > 0) {
    Note(fmt::format("{:#x}: rests for {:.0f} ms, having brought {:.0f} us", finding.address, rest_ms, balance_ns / 1e3));
  }
}

// A loop around it runs elsewhere and wins: what is left for the inner one are the passes that this one declines.
bool Session::IsCovered(const Finding& finding) const {
  const jit::FunctionCode& code = *finding.region->code;
  const jit::LoopInfo& loop = code.loops()[static_cast<size_t>(finding.region->loop)];
  const std::vector<jit::LoopId> around = code.LoopAndParents(loop.parent);
  return std::ranges::any_of(findings_, [&](const Finding& other) {
    if (!other.patched || other.awaiting_capture) return false;
    const bool is_around = other.region->code->bounds().begin == code.bounds().begin &&
                           std::ranges::find(around, other.region->loop) != around.end();
    return is_around && other.upkeep.HasProved(TallyOf(other));
  });
}

void Session::WakeUp(Finding& finding) {
  if (NowMs() < finding.rest_until_ms || IsCovered(finding)) return;
  finding.rest_until_ms = 0;
  finding.region->ForgiveLosses();
  finding.Image().SkipNext(0);
  finding.entries_before = CountEntries(*finding.region);
  finding.upkeep.Open(TallyOf(finding));
  if (auto installed = patcher_->Install(finding.Image()); !installed) return Reject(finding, installed.error());
  finding.patched = true;
}

// Regions whose header was reached only after we had gone on.
void Session::FinishPending() {
  for (Finding& finding : findings_) {
    if (finding.awaiting_capture && finding.region->mode.load(std::memory_order_acquire) == RegionMode::kCaptured) {
      CompileAndPublish(finding);
    }
  }
}

// What comes of that is waited for.
void Session::CaptureAgain(Finding& finding) {
  finding.region->mode.store(RegionMode::kCapture, std::memory_order_release);
  finding.Image().SkipNext(0);
  finding.awaiting_capture = true;
  BeginTrial(finding);
}

// Relaxed math may do no harm in most loops and ruin one: that one gets code with the original's bits.
void Session::AnswerMismatch(Finding& finding) {
  ForgetVariants(finding);
  if (!finding.relaxed) return PutBack(finding, jit::RejectionReason::kVerificationMismatch);
  Note(fmt::format("{:#x}: relaxed math comes out too far from the original's results here: compiled again with strict math",
                   finding.address));
  finding.relaxed = false;
  (void)patcher_->Remove(finding.Image());
  finding.patched = false;
  // From the beginning: libm's functions, which were known by name, are lifted like others now.
  const jit::LoopId loop = finding.region->loop;
  auto function = jit::DecodeFunction(strict_reader_, finding.region->code->bounds());
  if (!function) return Reject(finding, function.error());
  auto region = PrepareRegion(jit::WithCallees(strict_reader_, **function, loop), loop);
  if (!region) return Reject(finding, region.error());
  {
    const std::lock_guard lock(mutex_);
    finding.code.push_back((*region)->image->code());
    finding.former.push_back(std::exchange(finding.region, std::move(*region)));
    finding.ahead = false;
  }
  if (auto installed = patcher_->Install(finding.Image()); !installed) return Reject(finding, installed.error());
  finding.patched = true;
  CaptureAgain(finding);
}

// Looks after installed regions: compiles again for other values, puts back what does not run or does not win.
void Session::Supervise() {
  for (Finding& finding : findings_) {
    if (finding.rest_until_ms > 0 && !finding.rejection) WakeUp(finding);
    if (!finding.patched || finding.awaiting_capture || finding.rejection) continue;
    Region& region = *finding.region;
    if (region.mismatches.load(std::memory_order_relaxed) > 0) {
      AnswerMismatch(finding);
      continue;
    }
    const EntryCounts now = CountEntries(region);
    const EntryCounts& before = finding.entries_before;
    if (now.GuardFailures() > before.GuardFailures() + 2 && finding.recompiles < kMostRecompiles) {
      ++finding.recompiles;
      NoteUnsteady(finding);
      CaptureAgain(finding);
      continue;
    }
    SuperviseContest(finding);
    if (region.rival.load(std::memory_order_relaxed)) continue;  // it is short, and one of the two may lose
    if (MissesItsLoop(finding)) {
      Move(finding, /*ahead=*/false);
      continue;
    }
    const bool covered = IsCovered(finding);
    if (covered || !EarnsItsKeep(finding)) {
      if (!covered && ComesHome(finding)) continue;
      if (covered || !MoveAhead(finding)) Rest(finding);
      continue;
    }
    if (now.executions != before.executions) continue;
    const jit::RejectionReason reason = MostFrequentDecline(region, before, jit::RejectionReason::kNotWorthwhile);
    if (now.Declines() - before.Declines() < DeclinesEnough(reason)) continue;
    if (LiesInTheEntry(reason)) {
      if (!finding.ahead) Rest(finding);  // small ones may come in a row before a large one
    } else {
      PutBack(finding, reason, region.conflict_instruction.load());
    }
  }
}

}  // namespace tracelift::offload

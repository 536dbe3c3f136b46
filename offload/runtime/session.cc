#include "offload/runtime/session.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "offload/runtime/clock.h"
#include "profiler/unwind.h"

namespace tracelift::offload {
namespace {

constexpr double kShortestNapMs = 5, kLongestNapMs = 100;
constexpr double kProbationNapMs = 1;  // a region that only costs can make its loop several times slower
constexpr double kReportEveryMs = 1000;
constexpr double kPlanEveryMs = 200;
constexpr double kHotShare = 0.04;      // of all samples
constexpr int kCompilerNicer = 5;  // than the program, which may itself be nice
constexpr uint64_t kClosedMask = 0xffff;  // code without bounds is told apart by blocks of this size

// Hot code that is not looked into: of the C library and the like, or without function bounds (made at run time, say).
struct ClosedCode {
  uint64_t samples = 0, hottest = 0;
  uint32_t most = 0;
  bool system = false;
  void Add(uint64_t address, uint32_t count, bool of_system) {
    samples += count;
    system = of_system;
    if (count <= most) return;
    most = count;
    hottest = address;
  }
};

int CoresToUse(const TlConfig& config) {
  if (config.threads > 0) return config.threads;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

// The C library, the loader, the tracer and what it works with: taken over, they could deadlock with ourselves.
bool IsSystemModule(std::string_view path) {
  const size_t slash = path.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  for (const std::string_view prefix : {"libc.so", "libc-", "ld-linux", "ld-2", "libpthread", "libdl.so", "librt.so",
                                        "libtracelift", "libtbb", "libjemalloc", "libtcmalloc", "libmimalloc",
                                        "libstdc++", "libgcc_s", "linux-vdso", "[vdso]", "libLLVM"}) {
    if (name.starts_with(prefix)) return true;
  }
  return name.empty();
}

}  // namespace

Session::Session(const TlHost* host) : host_(host), config_(host->config), reader_(modules_), strict_reader_(modules_) {}

bool Session::Start() {
  nap_ms_ = kShortestNapMs;
  modules_ = profiler::ModuleList::Snapshot();
  auto patcher = jit::Patcher::Create();
  if (!patcher) {
    TurnOff("code cannot be patched in this process");
    Note(patcher.error());
    return false;
  }
  patcher_ = std::move(*patcher);
  for (LiveReader* reader : {&reader_, &strict_reader_}) reader->LookThrough(*patcher_);
  ReadDevices();
  if (config_->relaxed_math != 0 && !only_device_) reader_.KnowFunctions(jit::VectorMath::Open());
  pool_ = WorkerPool::CreateForever(CoresToUse(*config_));
  OpenCache();
  // From here on this thread compiles; on a busy machine the program and its helpers go first.
  const auto thread = static_cast<id_t>(gettid());
  (void)setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + kCompilerNicer);  // 19 at most
  return true;
}

void Session::Run() {
  if (!Start()) return;
  double last_report = NowMs(), last_plan = last_report;
  for (;;) {
    const uint64_t before = hotspots_.total();
    Observe(OnProbation() ? kProbationNapMs : nap_ms_);
    // A process that does nothing is not woken for nothing.
    nap_ms_ = hotspots_.total() != before ? kShortestNapMs : std::min(2 * nap_ms_, kLongestNapMs);
    if (off_.load(std::memory_order_relaxed)) {
      Observe(100);
    } else {
      FindHotFunctions();
      TakeStacks();
      FinishPending();
      LookAfterDevice();
      Supervise();
      if (NowMs() - last_plan > kPlanEveryMs) {
        Replan();
        last_plan = NowMs();
      }
    }
    if (NowMs() - last_report > kReportEveryMs) {
      WriteReport(/*final=*/false);
      ForgiveLosses();
      last_report = NowMs();
    }
  }
}

// Sleeps, then takes the samples that came meanwhile.
void Session::Observe(double ms) {
  const timespec nap{0, static_cast<long>(ms * 1e6)};
  nanosleep(&nap, nullptr);
  TlSample samples[512];
  for (int n = host_->drain(samples, 512); n > 0; n = host_->drain(samples, 512)) {
    const std::lock_guard lock(mutex_);
    hotspots_.Add({samples, static_cast<size_t>(n)});
    if (n < 512) break;
  }
}

// Unwinds sampled stacks: for the names of a hot function's callers in the report, and for the loops whose time is spent in
// functions that they call.
void Session::TakeStacks() {
  for (TlStackSample sample; host_->drain_stacks(&sample, 1) > 0;) {
    const std::vector<uint64_t> callers = profiler::Unwind(sample, modules_);
    Function* function = FunctionAt(sample.ip);
    if (function && function->callers.empty()) function->callers = callers;
    hotspots_.AddStack(CallFromLoop(sample.ip, callers));
  }
}

// A loop around `address` that was not given up.
bool Session::IsInOpenLoop(uint64_t address) {
  Function* function = FunctionAt(address);
  if (!function || !Decode(*function)) return false;
  for (jit::LoopId loop : function->code->LoopAndParents(function->code->InnermostLoopAt(address))) {
    const uint64_t header = function->code->loops()[static_cast<size_t>(loop)].header;
    const auto finding = std::ranges::find(findings_, header, &Finding::address);
    if (finding == findings_.end() || !finding->rejection) return true;
  }
  return false;
}

// The innermost call on the stack that comes from such a loop; 0 when the sample itself lies in one, or in ours.
uint64_t Session::CallFromLoop(uint64_t address, const std::vector<uint64_t>& callers) {
  constexpr size_t kFarthestCaller = 8;
  if (IsOwnCode(address) || IsInOpenLoop(address)) return 0;
  for (size_t i = 0; i < std::min(callers.size(), kFarthestCaller); ++i) {
    if (IsOwnCode(callers[i])) return 0;
    if (IsInOpenLoop(callers[i] - 1)) return callers[i] - 1;
  }
  return 0;
}

bool Session::IsHot(uint64_t samples, uint64_t of_all) {
  return samples >= kFewestSamples && static_cast<double>(samples) >= kHotShare * static_cast<double>(of_all);
}

// Of variants, stubs and native clones.
bool Session::IsOwnCode(uint64_t address) const {
  return std::any_of(findings_.begin(), findings_.end(), [&](const Finding& finding) {
    return finding.region && std::any_of(finding.code.begin(), finding.code.end(),
                                         [&](const jit::AddressRange& range) { return range.Contains(address); });
  });
}

Session::Function* Session::FunctionAt(uint64_t address) {
  auto after = functions_.upper_bound(address);
  if (after != functions_.begin()) {
    Function& candidate = std::prev(after)->second;
    if (candidate.bounds.Contains(address)) return &candidate;
  }
  const profiler::Module* module = modules_.Find(address);
  if (!module || IsSystemModule(module->path)) return nullptr;
  const auto bounds = reader_.FunctionAround(address);
  if (!bounds) return nullptr;
  Function& function = functions_[bounds->begin];
  function.bounds = *bounds;
  return &function;
}

void Session::FindHotFunctions() {
  for (auto& [begin, function] : functions_) function.samples = 0;
  std::map<uint64_t, ClosedCode> closed;
  uint64_t unknown = 0;
  for (const auto& [address, count] : hotspots_.by_address()) {
    if (Function* function = FunctionAt(address)) {
      function->samples += count;
      continue;
    }
    if (IsOwnCode(address)) continue;
    const profiler::Module* module = modules_.Find(address);
    if (!module) unknown += count;
    ClosedCode& code = module && IsSystemModule(module->path) ? closed[module->extent.begin] : closed[address & ~kClosedMask];
    code.Add(address, count, module && IsSystemModule(module->path));
  }
  for (const auto& [call, count] : hotspots_.by_call()) {
    if (Function* function = FunctionAt(call)) function->samples += hotspots_.Estimate(count);
  }
  if (IsHot(unknown) && profiler::ModuleList::Generation() != modules_.generation()) {
    modules_ = profiler::ModuleList::Snapshot();  // a library opened since
    return;
  }
  for (auto& [begin, function] : functions_) {
    if (IsHot(function.samples)) Consider(function);
  }
  for (const auto& [begin, code] : closed) {
    if (!IsHot(code.samples) || !closed_seen_.insert(begin).second) continue;
    const profiler::Module* module = code.system ? modules_.Find(code.hottest) : nullptr;
    const jit::AddressRange range = module ? jit::AddressRange{module->extent.begin, module->extent.end}
                                           : jit::AddressRange{begin, begin + kClosedMask + 1};
    const auto reason = code.system ? jit::RejectionReason::kSystemCode : jit::RejectionReason::kNoFunctionBounds;
    Reject(AddFinding(code.hottest, {range}), {reason, code.hottest, ""});
  }
}

// False when its code cannot be read as instructions; `undecoded` tells why.
bool Session::Decode(Function& function) {
  if (!function.decoded) {
    function.decoded = true;
    auto code = jit::DecodeFunction(reader_, function.bounds);
    if (code) {
      function.code = std::move(*code);
    } else {
      function.undecoded = code.error();
    }
  }
  return function.code != nullptr;
}

void Session::Consider(Function& function) {
  const bool is_new = !function.considered;
  function.considered = true;
  if (!Decode(function)) {
    if (is_new) Reject(AddFinding(function.bounds.begin, {function.bounds}), *function.undecoded);
    return;
  }
  if (is_new && function.code->loops().empty()) {
    Reject(AddFinding(function.bounds.begin, {function.bounds}), {jit::RejectionReason::kNoLoop, function.bounds.begin, ""});
  }
  const std::vector<jit::LoopInfo>& loops = function.code->loops();
  for (size_t i = 0; i < loops.size(); ++i) {
    if (loops[i].parent != jit::LoopId::kNone || !IsHot(hotspots_.In(loops[i].blocks))) continue;
    TryLoop(function, static_cast<jit::LoopId>(i));
  }
}

void Session::Note(std::string text) {
  if (config_->log > 0) dprintf(STDERR_FILENO, "tracelift: %s\n", text.c_str());
  const std::lock_guard lock(mutex_);
  notes_.push_back(std::move(text));
}

void Session::TurnOff(const char* why) {
  off_reason_.store(why, std::memory_order_relaxed);
  off_.store(true, std::memory_order_release);
  for (Finding& finding : findings_) {
    if (finding.region) finding.region->mode.store(RegionMode::kHome, std::memory_order_release);
  }
}

void Session::InChild() {
  off_.store(true, std::memory_order_relaxed);
  if (patcher_) patcher_->RestoreAll();
}

uint64_t Session::HandleTrap(uint64_t rip) const { return patcher_ ? patcher_->HandleTrap(rip) : 0; }
uint64_t Session::PlaceOf(uint64_t rip) const { return patcher_ ? patcher_->PlaceOf(rip) : 0; }

}  // namespace tracelift::offload

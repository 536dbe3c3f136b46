// The session owns everything tracelift does in one traced process: it runs on the watcher thread from the moment
// something is hot until the process ends.
//
// Thread rule: all methods on the watcher thread, except AtExit (the exiting thread), InChild (the only thread of a
// forked child), HandleTrap and PlaceOf (signal handlers), ReleasePages (any thread of the program).
#pragma once

#include <array>
#include <atomic>
#include <expected>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "jit/compiler.h"
#include "jit/function_code.h"
#include "jit/region_image.h"
#include "offload/cache/compile_cache.h"
#include "offload/host/region.h"
#include "offload/runtime/hotspots.h"
#include "offload/runtime/live_reader.h"
#include "offload/runtime/upkeep.h"
#include "partitioner/graph/resources.h"
#include "profiler/modules.h"
#include "profiler/preload_api.h"
#include "profiler/run_report.h"
#include "profiler/symbols.h"

namespace tracelift::offload {

/// For what the artifact's kernel is, if it has one.
inline jit::KernelTarget KernelsOf(const jit::Artifact& artifact) {
  return artifact.kernel ? artifact.kernel->target : jit::KernelTarget::kNone;
}

inline constexpr uint64_t kFewestSamples = 8;  // below this a share means nothing

/// What became of a region's entries up to some moment.
struct EntryCounts {
  uint64_t executions = 0;
  std::array<uint64_t, std::tuple_size_v<decltype(Region::decline_reasons)>> declines{};  // by jit::RejectionReason

  uint64_t Declines() const { return std::accumulate(declines.begin(), declines.end(), uint64_t{0}); }
  uint64_t GuardFailures() const { return declines[static_cast<size_t>(jit::RejectionReason::kValuesKeepChanging)]; }
};

/// A hot loop (or hot code without a loop) and what became of it; the unit of the report.
struct Finding {
  uint64_t address = 0;                  // header of the loop, or a sampled address
  std::vector<jit::AddressRange> code;   // whose samples count for it
  std::unique_ptr<Region> region;        // once installed
  std::vector<std::unique_ptr<Region>> former;  // in its place before; threads may still be inside
  std::vector<std::unique_ptr<Variant>> variants;
  jit::MachineState seen;                // what its variants are compiled for; Region::captured is scratch while one runs
  std::optional<jit::Rejection> rejection;
  jit::CompileTimes times;               // summed over variants
  uint64_t from_cache = 0, fetch_ns = 0;  // compilations that an earlier run had done
  bool located = false;                  // symbol and source were looked up
  std::string module, symbol, source;
  uint64_t elf_address = 0;
  std::vector<std::string> callers;
  bool patched = false;
  bool ahead = false;                    // of the loop, and not in it
  double moved_ms = 0;                   // when that changed
  bool awaiting_capture = false;
  int recompiles = 0;
  bool relaxed = false;                  // compiled with relaxed math
  bool tried_on_device = false;          // beside the cores
  int64_t callee_instructions = 0;       // of functions that its loop calls
  std::vector<jit::Guard> unsteady;      // places whose values changed between entries
  EntryCounts entries_before;            // when its current variant was published, or it was woken
  std::set<const Variant*> contested;    // have met their rivals, or have none
  double contest_ends_ms = 0;            // if it has not ended by then, the published variant has won
  std::vector<jit::ByteRange> ranges;    // of the last execution seen
  Upkeep upkeep;
  double trial_ms = 0;                   // since when it could show what it brings;
  uint64_t samples_before = 0, all_samples_before = 0;  // until then, in the loop and in all
  double rest_until_ms = 0;              // unpatched until then; 0: not resting
  int planned_home = 0;                  // plans in a row that want it at home

  jit::RegionImage& Image() const { return ahead ? *region->ahead : *region->image; }
};

/// What a patched finding has brought and cost so far.
Tally TallyOf(const Finding& finding);

class Session {
 public:
  explicit Session(const TlHost* host);
  ~Session() = delete;  // lives as long as the process

  void Run();
  void AtExit();
  void InChild();
  uint64_t HandleTrap(uint64_t rip) const;
  uint64_t PlaceOf(uint64_t rip) const;
  /// A device has no copies any more of pages in [begin, begin + bytes).
  void ReleasePages(uint64_t begin, uint64_t bytes) const;
  /// Called when LLVM or our own thread failed beyond repair: no further work, original code everywhere.
  void TurnOff(const char* why);

 private:
  struct Function {
    jit::AddressRange bounds;
    std::shared_ptr<const jit::FunctionCode> code;  // null: rejected
    std::set<int> tried;                            // loops
    uint64_t samples = 0;
    bool decoded = false, considered = false;
    std::optional<jit::Rejection> undecoded;
    std::vector<uint64_t> callers;                  // return addresses of one sampled stack, innermost first
  };

  // session.cc
  bool Start();
  void Observe(double ms);
  void TakeStacks();
  void FindHotFunctions();
  void Consider(Function& function);
  bool Decode(Function& function);
  bool IsInOpenLoop(uint64_t address);
  uint64_t CallFromLoop(uint64_t address, const std::vector<uint64_t>& callers);
  Function* FunctionAt(uint64_t address);
  static bool IsHot(uint64_t samples, uint64_t of_all);
  bool IsHot(uint64_t samples) const { return IsHot(samples, hotspots_.total()); }
  bool IsOwnCode(uint64_t address) const;
  void Note(std::string text);

  // devices.cc
  void ReadDevices();
  jit::KernelTarget KernelsOfDevice();
  bool OpenDeviceContest(Finding& finding);
  const Variant* OnCores(const Finding& finding) const;
  bool StartDevice();
  void LookAfterDevice();
  void KeepKernel(const Finding& finding);

  // compile.cc
  void OpenCache();
  CompileRequest RequestFor(const Finding& finding, std::span<const jit::Guard> unsteady, jit::KernelTarget kernels) const;
  CompileCache::Result Compile(Finding& finding, bool plain, jit::KernelTarget kernels);
  CompileCache::Result CompileOrFetch(Finding& finding, const std::vector<jit::Guard>& unsteady, bool plain, jit::KernelTarget kernels);
  void ForgetVariants(const Finding& finding);

  // takeover.cc
  std::expected<std::unique_ptr<Region>, jit::Rejection> PrepareRegion(std::shared_ptr<const jit::FunctionCode> code, jit::LoopId loop);
  bool TryLoop(Function& function, jit::LoopId loop);
  bool TryChildren(Function& function, jit::LoopId loop);
  Finding& AddFinding(uint64_t address, std::vector<jit::AddressRange> code);
  void Reject(Finding& finding, jit::Rejection rejection);
  bool WaitForCapture(Finding& finding, double ms);
  bool CompileAndPublish(Finding& finding);
  void CaptureAgain(Finding& finding);
  void AnswerMismatch(Finding& finding);
  void PutBack(Finding& finding, jit::RejectionReason reason, uint64_t address = 0);
  void ForgiveLosses();
  bool OnProbation() const;
  jit::PatchRules Rules() const;
  void BeginTrial(Finding& finding);
  bool IsOnTrial(const Function& function, jit::LoopId loop) const;
  bool IsCovered(const Finding& finding) const;
  std::vector<Finding*> StepAside();
  void StepBack(const std::vector<Finding*>& aside);
  bool MoveAhead(Finding& finding);
  bool Move(Finding& finding, bool ahead);
  bool MissesItsLoop(const Finding& finding) const;
  bool IsPatchedBy(const jit::RegionImage& image, const Finding& finding) const;
  bool ComesHome(Finding& finding);
  void Rest(Finding& finding);
  void WakeUp(Finding& finding);
  void FinishPending();
  void Supervise();

  // variants.cc
  const Variant* AddVariant(Finding& finding, jit::Artifact artifact);
  void Publish(Finding& finding, const Variant& variant);
  bool BeginsPlain(const Finding& finding) const;
  bool MayContest(const Finding& finding, const Variant& variant) const;
  bool OpenContest(Finding& finding);
  bool AddRival(Finding& finding, CompileCache::Result artifact);
  void SuperviseContest(Finding& finding);

  // session_report.cc
  profiler::RunReport BuildReport();
  void WriteReport(bool final);
  void DescribeLocation(Finding& finding);
  profiler::RegionReport Describe(const Finding& finding) const;
  uint64_t SamplesOf(const Finding& finding) const;

  // live_graph.cc
  void Replan();

  const TlHost* host_;
  const TlConfig* config_;
  profiler::ModuleList modules_;
  LiveReader reader_, strict_reader_;       // the latter knows no functions of relaxed math
  Hotspots hotspots_;
  partitioner::ResourceSet resources_;
  WorkerPool* pool_ = nullptr;
  std::string device_name_;                 // that regions may run on beside the cores; "": none
  bool only_device_ = false;                // they may not run on the cores
  DeviceLink* device_ = nullptr;            // once it was started,
  std::atomic<DeviceCopies*> copies_{nullptr};  // and what it holds; set once
  std::string no_device_;                   // why that was in vain
  bool device_lost_ = false;                // and its regions were told
  jit::NearMemory near_memory_;
  std::unique_ptr<jit::Patcher> patcher_;
  std::unique_ptr<jit::CodeLoader> loader_;
  std::optional<CompileCache> cache_;
  std::string cache_state_;  // for the report
  std::map<uint64_t, Function> functions_;  // by begin
  std::set<uint64_t> closed_seen_;          // hot code that is not looked into, already in the report
  std::list<Finding> findings_;             // addresses stay valid; guarded by mutex_ for adding and for AtExit
  profiler::Symbolizer symbolizer_;
  std::vector<std::string> notes_;
  std::string graph_text_, plan_text_;
  double nap_ms_ = 0;  // between looks at the samples; grows while there are none
  std::atomic<bool> off_{false};
  std::atomic<const char*> off_reason_{nullptr};
  std::timed_mutex mutex_;
};

}  // namespace tracelift::offload

// One arrival of a program thread at a region's header, from the captured registers to the way back. Private to
// offload/host; dispatch.cc tells the story.
#pragma once

#include <time.h>

#include <cstdint>
#include <span>

#include "offload/host/device_results.h"
#include "offload/host/region.h"
#include "offload/host/signals.h"

namespace tracelift::offload {

inline constexpr int kTrustAfter = 2;  // verified slices before a variant runs alone

inline double NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

/// Why passes that set these flags (jit::kFlag*) are the original's.
jit::RejectionReason ReasonOf(uint32_t flags);

/// One entry of one region; `region.busy` is held. The rules of dispatch.cc bind all of it.
class Entry {
 public:
  Entry(Region& region, jit::RegionImage& image, jit::SavedContext& context)
      : region_(region), image_(image), context_(context), state_(region.state) {}

  uint32_t Capture();
  const Variant* Choose() const;
  uint32_t RunFromHeader(const Variant& variant, SignalMask mask, double start);
  uint32_t RunOnCores(const Variant& variant, SignalMask mask, double start);
  bool IsReplaced(const Variant& variant) const;
  uint32_t Run(const Variant& variant, SignalMask mask);
  /// What the original would have taken for what was done so far. Verification is no loss: it counts as what it took.
  double worth_ns() const { return worth_ns_; }

 private:
  static size_t VectorBytes(jit::RegisterSet live, int vector);
  bool ReachHeader(uint32_t* resume);
  bool LoadState(std::span<const jit::Slot> slots);
  void CommitState();
  void WriteSlots() const;
  bool SlotsStand(const jit::Artifact& artifact) const;
  void CopyState(const jit::MachineState& from, jit::MachineState* to) const;
  bool GuardsHold(const jit::Artifact& artifact) const;
  bool FloatEnvironmentFits(const jit::Artifact& artifact);
  bool Decline(jit::RejectionReason reason, int64_t skip);
  bool ArrivesWithEachPass() const { return image_.place() == jit::PatchPlace::kInLoop; }
  bool PlaceWindows(const Variant& variant, int64_t passes, uint64_t stack_top, uint64_t stack_low);
  bool DescribeSlice(const Variant& variant, int64_t passes);
  bool IndependentBehind(const Variant& variant, int64_t passes);
  bool StandsOn(const Variant& variant, int64_t checked, int64_t* passes);
  int64_t IndependentPasses(const Variant& variant, int64_t passes);
  int64_t LeadOfSlice(const Variant& variant, int64_t passes);
  bool CheckSlice(const Variant& variant, int64_t* passes);
  bool ReserveStates(const jit::Artifact& artifact, int64_t passes);
  bool MakeLog(const jit::Artifact& artifact, int64_t passes);
  bool IsWorthVerifying(uint64_t bytes, int64_t left);
  bool PlanToKeep(const Variant& variant, int64_t passes, int64_t left, bool verify);
  bool ProbeNative(int64_t limit, uint32_t* resume);
  bool ProbeNatively(const Variant& variant, int64_t* left, uint32_t* resume);
  bool RunNative(int64_t passes, uint32_t* resume, double* ns);
  void ScaleEstimates(const Variant& variant, int64_t left);
  double AsInFirstEntry(double pass_ns) const;
  bool HasRival() const { return region_.rival.load(std::memory_order_relaxed) != nullptr; }
  void RecordSlice(const Variant& variant, double pass_ns);
  void RecordRun(double work_ns, double ns, int64_t passes);
  void Adopt(const jit::MachineState& from, const jit::Artifact& artifact);
  void Seek(const Variant& variant, const jit::MachineState& start, int64_t passes);
  void Settle(const Variant& variant, int64_t passes, const WorkerPool::Outcome& outcome);
  int64_t PassesOfSearch() const;
  bool RunLead(const Variant& variant, const WorkerPool::Job& whole, uint32_t* flags);
  bool RunVariant(const Variant& variant, int64_t* passes, uint32_t* resume);
  // device_slice.cc
  bool PlanForDevice(const Variant& variant, int64_t passes, bool verify);
  bool RunOnDevice(const Variant& variant, int64_t passes);
  bool Launch(const Variant& variant, int64_t passes, int64_t all_passes, WorkerPool::Outcome* outcome);
  bool MayLeaveResults(const Variant& variant) const;
  bool PostLaunch(const Variant& variant, int64_t passes, std::span<const DeviceMemory> memories, std::span<const DeviceCopies::Wanted> copies);
  bool PostCopies(std::span<const DeviceMemory> memories, std::span<const DeviceCopies::Wanted> wanted, Results* results);
  void TakeResults(const Results& results, int64_t passes);
  bool GiveUpLaunch(int64_t passes);
  uint32_t RunPassBehind(const Variant& variant, int64_t passes, WorkerPool::Outcome* outcome);
  uint32_t RunLastPass(const Variant& variant, int64_t done);
  bool RedoChunks(const Variant& variant, int64_t passes, const WorkerPool::Outcome& outcome, uint32_t* resume);
  bool VerifySlice(const Variant& variant, int64_t* passes, uint32_t* resume);
  void Leave(int64_t left, uint32_t* resume);
  int64_t LeadPasses(const jit::Artifact& artifact, int64_t left) const;
  int64_t SlicePasses(double target_ns, int64_t left, const jit::Artifact& artifact) const;
  int64_t VerifiedPasses(int64_t left, int64_t group) const;

  Region& region_;
  LossesBySize* losses_ = &region_.losses;  // of what runs
  jit::RegionImage& image_;  // that it came through
  jit::SavedContext& context_;
  jit::MachineState& state_;
  jit::ByteRange ranges_[Region::kMaxRanges * 2];
  size_t range_count_ = 0;
  std::span<const jit::Slot> slots_;
  enum class Undo : uint8_t { kNothing, kChunk, kLog, kSlice };
  Undo undo_ = Undo::kNothing;   // what is kept of region_.writes
  int64_t chunk_passes_ = 1;
  size_t state_bytes_ = 0;       // of a state that a chunk leaves for the next; 0: none does
  bool in_order_ = false;        // passes of the slice meet each other: one chunk
  int64_t lead_ = 0;             // of the checked slice: iterations that all its passes do first
  bool stops_ = false;           // a search, which chunks may end: one pass of the next chunk_passes_ leaves the loop
  int conflicts_ = 0;            // slices that began with passes which meet others
  bool dirty_ = false;           // state_ is ahead of the program's registers and slots
  jit::RegisterSet changed_;     // in these registers
  double worth_ns_ = 0;
  uint32_t sticky_ = 0;          // MXCSR flags raised by variants
};

}  // namespace tracelift::offload

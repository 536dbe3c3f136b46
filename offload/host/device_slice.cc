// A slice as a launch on a device: what its passes touch is copied there, a grid of threads does them, and what they write is copied
// back when all went well, or stays there until somebody touches it; until then the program's memory is as it was.
#include <algorithm>
#include <array>
#include <cstring>

#include "offload/host/entry.h"
#include "offload/host/float_scope.h"
#include "offload/host/memory_map.h"
#include "offload/host/parallel_copy.h"
#include "offload/host/program_threads.h"

namespace tracelift::offload {
namespace {

using jit::RejectionReason;

constexpr uint64_t kLargestWindow = 256 << 20;       // on either side of its base
constexpr double kLeastPatienceNs = 5e9, kPatience = 20, kNsPerByte = 20;

// The neutral value as kernels combine with it: signed numbers are sign-extended.
uint64_t NeutralInWord(jit::Reduction reduction) {
  const uint64_t value = jit::NeutralValue(reduction);
  const bool is_signed = reduction.kind == jit::ReductionKind::kSMin || reduction.kind == jit::ReductionKind::kSMax;
  const int shift = 64 - reduction.bits;
  return is_signed ? static_cast<uint64_t>(static_cast<int64_t>(value << shift) >> shift) : value;
}

constexpr uint64_t kWorthLeaving = 2 << 20;         // of one memory's results: what is touched at its ends comes home by single faults
constexpr uint64_t kBelowStack = 1 << 20, kAboveStack = 16 << 20;  // of the stack pointer: frames, also our own

struct DeviceMemories {
  std::array<DeviceMemory, jit::kMaxMemories> all;
  size_t count = 0;
  std::span<const DeviceMemory> list() const { return {all.data(), count}; }
};

void Cover(const jit::AccessForm& form, DeviceMemory* memory) {
  memory->begin = std::min(memory->begin, form.low);
  memory->end = std::max(memory->end, form.high);
  if (!form.write) return;
  memory->written_begin = std::min(memory->written_begin, form.low);
  memory->written_end = std::max(memory->written_end, form.high);
}

bool IsAligned(const jit::Kernel& kernel, const jit::Footprint& footprint) {
  return std::ranges::all_of(footprint.all(), [&](const jit::AccessForm& form) {
    return form.access >= jit::kSlotBase || jit::AlignmentOf(footprint, form) >= kernel.alignment[form.access];
  });
}

// In the order of jit::Kernel. Windows are cut where they are too large.
DeviceMemories MemoriesOf(const jit::Artifact& artifact, const jit::Footprint& footprint, jit::MachineState* state) {
  const jit::Kernel& kernel = *artifact.kernel;
  DeviceMemories memories;
  memories.count = static_cast<size_t>(kernel.memories(artifact.footprint.windows.size()));
  for (const jit::AccessForm& form : footprint.all()) {
    if (form.access < jit::kSlotBase) Cover(form, &memories.all[kernel.memory[form.access]]);
  }
  size_t next = kernel.access_memories;
  for (size_t i = 0; i < artifact.footprint.windows.size(); ++i, ++next) {
    jit::ReadWindow& window = state->window[i];
    const uint64_t base = std::clamp(footprint.window_base[i], window.begin, window.end);
    window.begin = std::max(window.begin, base - std::min(base, kLargestWindow));
    window.end = std::min(window.end, base + kLargestWindow);
    memories.all[next].begin = window.begin;
    memories.all[next].end = window.end;
  }
  for (const jit::KernelTable& table : kernel.tables) {
    const uint64_t base = table.module < 0 ? 0 : state->module_base[static_cast<size_t>(table.module)];
    memories.all[next].begin = base + table.offset;
    memories.all[next++].end = base + table.offset + table.bytes;
  }
  return memories;
}

// No two copies of one byte, of which one is written.
bool AreApart(std::span<const DeviceMemory> memories) {
  for (size_t i = 0; i < memories.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const DeviceMemory &a = memories[i], &b = memories[j];
      const bool meet = a.begin < b.end && b.begin < a.end && !a.Empty() && !b.Empty();
      if (meet && (a.IsWritten() || b.IsWritten())) return false;
    }
  }
  return true;
}

int64_t LongestOf(const std::vector<bool>& loops, const jit::Footprint& footprint) {
  int64_t longest = 1;
  for (int loop = 0; loop < footprint.loop_count; ++loop) {
    if (!loops[static_cast<size_t>(loop)]) continue;
    longest = std::max(longest, footprint.trip[loop]);
    for (int phase = 0; phase < footprint.phases && footprint.phases > 1; ++phase) longest = std::max(longest, footprint.phase_trip[phase][loop]);
  }
  return longest;
}

// As launches on a device are, and again on the cores.
bool CanBeRepeated(const jit::Artifact& artifact) { return artifact.footprint.windows.empty() && artifact.logged.empty(); }

// What lies between two of its accesses is not asked for.
bool AreWritesIn(std::span<const DeviceMemory> memories, const WritePlan& writes, int64_t passes) {
  std::array<jit::ByteRange, jit::kMaxMemories> ranges;
  size_t count = 0;
  for (const DeviceMemory& memory : memories) {
    if (memory.IsWritten()) ranges[count++] = {memory.written_begin, memory.written_end, true};
  }
  return LieIn(writes, {ranges.data(), count}, passes);
}

// All of it can be read: what lies between two accesses of one memory need not be the program's.
bool CanBeCopied(std::span<const DeviceMemory> memories) {
  std::array<jit::ByteRange, jit::kMaxMemories> ranges;
  size_t count = 0;
  for (const DeviceMemory& memory : memories) {
    if (!memory.Empty()) ranges[count++] = {memory.begin, memory.end, false};
  }
  return RangesUsable({ranges.data(), count});
}

// As many iterations as the longest loop of each dimension makes.
void SetGrid(const jit::Artifact& artifact, const jit::Footprint& footprint, int64_t passes, LaunchRequest* request) {
  const bool ordered = artifact.kernel->ordered;
  request->first = 0;
  request->count = ordered ? passes : 1;
  std::ranges::fill(request->extent, 1);
  request->extent[0] = ordered ? 1 : passes;
  if (ordered) request->extent[1] = LongestOf(artifact.reliance.panels, footprint);
  for (size_t dimension = 0; dimension < artifact.reliance.grid.size(); ++dimension) {
    request->extent[dimension + 1] = LongestOf(artifact.reliance.grid[dimension], footprint);
  }
  request->blocks = jit::BlocksOf(*artifact.kernel, request->extent);
}

}  // namespace

bool Images::CopyOut(DeviceLink& device, const DeviceCopies::Wanted& copy, uint64_t begin, uint64_t end) {
  if (begin >= end) return true;
  const uint64_t bytes = end - begin, staged = next_;
  all_[count_++] = {begin, {device.staging() + staged, bytes}};
  next_ += (bytes + 63) / 64 * 64;
  for (uint64_t offset = 0; offset < bytes; offset += kPieceBytes) {
    const DeviceCommand command{.op = DeviceOp::kCopyOut, .buffer = copy.buffer, .offset = begin - copy.copy_begin + offset,
                                .staging = staged + offset, .bytes = std::min(kPieceBytes, bytes - offset)};
    if (!device.Post(command)) return false;
  }
  return true;
}

namespace {

/// Most bytes of the memory are written, not single ones here and there.
bool IsMostlyWritten(const WritePlan& writes, const DeviceMemory& memory) {
  uint64_t bytes = 0;
  for (const WriteStream& stream : writes.streams()) {
    const auto passes = static_cast<uint64_t>((writes.passes() + stream.phases - 1) / stream.phases);
    if (memory.written_begin <= stream.base && stream.base < memory.written_end) bytes += stream.pass_bytes * passes;
  }
  return bytes >= (memory.written_end - memory.written_begin) / 4 * 3;
}

bool IsNearStack(const DeviceMemory& memory, uint64_t stack) {
  return memory.begin < stack + kAboveStack && stack - kBelowStack < memory.end;
}

uint64_t BytesOf(std::span<const DeviceMemory> memories, bool written) {
  uint64_t bytes = 0;
  for (const DeviceMemory& memory : memories) {
    if (written && memory.IsWritten()) bytes += memory.written_end - memory.written_begin + 64;
    if (!written && !memory.Empty()) bytes += memory.end - memory.begin;
  }
  return bytes;
}

}  // namespace

// Results may stay where no other thread of the program can write between what a launch does, and nobody is about to look at them.
bool Entry::MayLeaveResults(const Variant& variant) const {
  return undo_ == Undo::kNothing && CanBeRepeated(variant.artifact) && IsOnlyThread();
}

// The link is taken.
bool Entry::Launch(const Variant& variant, int64_t passes, int64_t all_passes, WorkerPool::Outcome* outcome) {
  const jit::Artifact& artifact = variant.artifact;
  DeviceCopies& copies = *region_.device;
  DeviceLink& link = copies.link();
  const DeviceMemories memories = MemoriesOf(artifact, region_.footprint, &state_);
  if (!AreApart(memories.list()) || !IsAligned(*artifact.kernel, region_.footprint)) return Decline(RejectionReason::kValuesKeepChanging, all_passes);
  if (!CanBeCopied(memories.list())) return Decline(RejectionReason::kUnmappedMemory, all_passes);
  if (!AreWritesIn(memories.list(), region_.writes, passes)) return Decline(RejectionReason::kTooMuchToKeep, all_passes);
  const uint64_t bytes = BytesOf(memories.list(), /*written=*/false);
  if (bytes > link.memory_bytes() || BytesOf(memories.list(), /*written=*/true) > kFetchAt - kOutputAt)
    return Decline(RejectionReason::kDeviceMemory, all_passes);

  const double work_ns = region_.costs.native_ns * static_cast<double>(passes);
  const double deadline = NowNs() + kLeastPatienceNs + kPatience * work_ns + kNsPerByte * static_cast<double>(bytes);
  std::array<DeviceCopies::Wanted, jit::kMaxMemories> placed{};
  const std::span<DeviceCopies::Wanted> wanted(placed.data(), memories.count);
  for (size_t i = 0; i < memories.count; ++i) wanted[i] = {.begin = memories.all[i].begin, .end = memories.all[i].end};
  copies.BeginLaunch(MayLeaveResults(variant), CanBeRepeated(artifact));
  bool ran = copies.Bring(wanted, deadline) && PostLaunch(variant, passes, memories.list(), wanted);
  Results results;
  ran = ran && PostCopies(memories.list(), wanted, &results) && link.Finish(deadline);
  for (const DeviceMemory& memory : memories.list()) {
    if (memory.IsWritten()) copies.Spoil(memory.written_begin, memory.written_end);
  }
  if (!ran) return GiveUpLaunch(all_passes);
  const auto& request = *reinterpret_cast<const LaunchRequest*>(link.staging() + kRequestAt);
  outcome->flags = request.flags;
  for (size_t i = 0; i < artifact.reductions.size(); ++i) outcome->reduced[i] = jit::LowBits(request.partial[i], artifact.reductions[i].bits);
  if (outcome->flags != 0) return true;
  copies.Log(variant.function, request.state, passes);
  TakeResults(results, passes);
  return true;
}

// What of the results stays on the device, if the launch raises no flag, and the rest on its way to the staging area. False when the
// device has failed.
bool Entry::PostCopies(std::span<const DeviceMemory> memories, std::span<const DeviceCopies::Wanted> wanted, Results* results) {
  DeviceCopies& copies = *region_.device;
  DeviceLink& link = copies.link();
  for (size_t i = 0; i < memories.size(); ++i) {
    const DeviceMemory& memory = memories[i];
    if (!memory.IsWritten()) continue;
    const bool is_large = memory.written_end - memory.written_begin >= kWorthLeaving;
    const bool may_stay = copies.IsLogging() && is_large && !IsNearStack(memory, state_.gpr[jit::kRsp]) && IsMostlyWritten(region_.writes, memory);
    const PageRange stays = may_stay ? copies.PrepareToLeave(memory.written_begin, memory.written_end) : PageRange{};
    if (stays.IsEmpty()) {
      if (!results->all.CopyOut(link, wanted[i], memory.written_begin, memory.written_end)) return false;
      continue;
    }
    results->stays[results->stays_count++] = stays;
    if (!results->edges.CopyOut(link, wanted[i], memory.written_begin, stays.begin)) return false;
    if (!results->edges.CopyOut(link, wanted[i], stays.end, memory.written_end)) return false;
  }
  return true;
}

// Into the program's memory, of what came back as a whole, the bytes that are written. Beside what stays nobody else writes: there the
// device's pages are the program's.
void Entry::TakeResults(const Results& results, int64_t passes) {
  DeviceCopies& copies = *region_.device;
  const auto loosen = [&](const MemoryImage& image) { copies.Loosen(image.begin, image.begin + image.bytes.size()); };
  const auto settle = [&](const MemoryImage& image) { copies.Settle(image.begin, image.bytes); };
  std::ranges::for_each(results.all.list(), loosen);
  std::ranges::for_each(results.edges.list(), loosen);
  if (copies.IsAnyAway()) {  // a touch of that is the holder's alone
    CopyWritten(region_.writes, results.all.list(), 0, passes);
  } else {
    CopyWrittenTogether(*region_.pool, region_.writes, results.all.list(), passes);
  }
  for (const MemoryImage& image : results.edges.list()) std::ranges::copy(image.bytes, reinterpret_cast<uint8_t*>(image.begin));
  for (size_t i = 0; i < results.stays_count; ++i) copies.Leave(results.stays[i]);
  std::ranges::for_each(results.all.list(), settle);
  std::ranges::for_each(results.edges.list(), settle);
}

bool Entry::PostLaunch(const Variant& variant, int64_t passes, std::span<const DeviceMemory> memories, std::span<const DeviceCopies::Wanted> copies) {
  const jit::Artifact& artifact = variant.artifact;
  DeviceLink& link = region_.device->link();
  auto& request = *reinterpret_cast<LaunchRequest*>(link.staging() + kRequestAt);
  request.kernel = variant.kernel;
  request.memory_count = static_cast<uint32_t>(copies.size());
  SetGrid(artifact, region_.footprint, passes, &request);
  for (size_t i = 0; i < copies.size(); ++i) {
    request.memories[i] = {copies[i].buffer, copies[i].copy_begin};
    if (artifact.may_flag == 0 || !memories[i].IsWritten()) continue;
    const PageRange away = region_.device->AwayIn(memories[i].written_begin, memories[i].written_end);
    request.memories[i].kept_offset = away.IsEmpty() ? 0 : away.begin - copies[i].copy_begin;
    request.memories[i].kept_bytes = away.bytes();
  }
  request.flags = 0;
  for (size_t i = 0; i < artifact.reductions.size(); ++i) request.partial[i] = NeutralInWord(artifact.reductions[i]);
  CopyState(state_, &request.state);
  return link.Post({.op = DeviceOp::kLaunch, .staging = kRequestAt, .bytes = sizeof(LaunchRequest)});
}

// The program's memory is as before. A device without memory for it is one for others.
bool Entry::GiveUpLaunch(int64_t passes) {
  DeviceLink& link = region_.device->link();
  const bool failed = link.HasFailed() && link.status() != DeviceStatus::kOutOfMemory;
  if (failed) link.Quarantine("a command failed");
  if (link.is_lost()) return Decline(RejectionReason::kDeviceLost, passes);
  link.BeginBatch();
  region_.device->Reset();
  return Decline(RejectionReason::kDeviceMemory, passes);
}

// The last pass, behind so many others, by the host: it leaves the state that no thread of a grid leaves. Returns kFlag*; if there are
// any, all that the slice overwrote is back.
uint32_t Entry::RunPassBehind(const Variant& variant, int64_t passes, WorkerPool::Outcome* outcome) {
  const std::vector<jit::Reduction>& reductions = variant.artifact.reductions;
  jit::ChunkResult result{.partial = outcome->reduced};
  const FloatScope scope(state_.mxcsr);
  variant.function(&state_, &region_.after, passes, 1, &result);
  sticky_ |= scope.raised();
  for (size_t i = 0; i < reductions.size(); ++i) outcome->reduced[i] = result.partial[i];
  if (result.flags != 0) region_.before.Restore(region_.writes, 0, 0, passes + 1);
  return result.flags;
}

// What a slice overwrites is kept where the original does it, too, and where a last pass may find when all else is written that the
// original must do it.
bool Entry::PlanForDevice(const Variant& variant, int64_t passes, bool verify) {
  WritePlan& writes = region_.writes;
  const jit::Artifact& artifact = variant.artifact;
  const bool keeps = verify || (!artifact.can_seek && artifact.may_flag != 0);
  undo_ = keeps ? Undo::kSlice : Undo::kNothing;
  // What is written back of the passes must not be of the last one, too.
  const bool fits = writes.Make(region_.footprint, passes) && (artifact.can_seek || writes.separable());
  if (!fits || (keeps && !region_.before.Reserve(writes))) return Decline(RejectionReason::kTooMuchToKeep, passes);
  region_.kept_per_pass = keeps ? std::max<uint64_t>(1, writes.bytes() / static_cast<uint64_t>(passes)) : 0;
  return true;
}

// The prepared slice on the device; false when the original must do it, from the memory and state before.
bool Entry::RunOnDevice(const Variant& variant, int64_t passes) {
  DeviceLink& device = region_.device->link();
  CopyState(state_, &region_.after);
  if (undo_ == Undo::kSlice) region_.before.Save(region_.writes, 0, 0, passes);
  if (!device.Take()) {
    return Decline(device.is_lost() ? RejectionReason::kDeviceLost : RejectionReason::kTooLittleWork, device.is_lost() ? passes : 1);
  }
  const int64_t behind = variant.artifact.can_seek ? 0 : 1;
  WorkerPool::Outcome outcome;
  for (size_t i = 0; i < variant.artifact.reductions.size(); ++i) outcome.reduced[i] = jit::NeutralValue(variant.artifact.reductions[i]);
  const bool ran = passes == behind || Launch(variant, passes - behind, passes, &outcome);  // else nothing is left for a grid
  device.Release();
  if (!ran) return false;
  if (behind > 0 && outcome.flags == 0) outcome.flags = RunPassBehind(variant, passes - behind, &outcome);
  if (outcome.flags != 0) return Decline(ReasonOf(outcome.flags), passes);
  Settle(variant, passes, outcome);
  region_.passes.fetch_add(static_cast<uint64_t>(passes), std::memory_order_relaxed);
  return true;
}

}  // namespace tracelift::offload

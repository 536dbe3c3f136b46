// A slice as a launch on a device: what its passes touch is copied there, a grid of threads does them, and what they write is copied
// back when all went well; until then the program's memory is as it was.
#include <algorithm>
#include <array>
#include <cstring>

#include "offload/host/entry.h"
#include "offload/host/float_scope.h"
#include "offload/host/memory_map.h"

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

struct DeviceMemory {
  uint64_t begin = UINT64_MAX, end = 0;                  // what is copied to the device
  uint64_t written_begin = UINT64_MAX, written_end = 0;  // and back
  bool Empty() const { return begin >= end; }
  bool IsWritten() const { return written_begin < written_end; }
};

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

/// Images of what is written, in the staging area once all commands are done; false also when they do not fit.
bool CopyOut(DeviceLink& device, std::span<const DeviceMemory> memories, std::span<const DeviceCopies::Wanted> copies,
             std::array<MemoryImage, jit::kMaxMemories>* images, size_t* count) {
  uint64_t at = kOutputAt;
  for (size_t i = 0; i < memories.size(); ++i) {
    const DeviceMemory& memory = memories[i];
    if (!memory.IsWritten()) continue;
    const uint64_t bytes = memory.written_end - memory.written_begin;
    (*images)[(*count)++] = {memory.written_begin, {device.staging() + at, bytes}};
    for (uint64_t offset = 0; offset < bytes; offset += kPieceBytes) {
      const uint64_t size = std::min(kPieceBytes, bytes - offset);
      const DeviceCommand command{.op = DeviceOp::kCopyOut, .buffer = copies[i].buffer,
                                  .offset = memory.written_begin - copies[i].copy_begin + offset, .staging = at + offset, .bytes = size};
      if (!device.Post(command)) return false;
    }
    at += (bytes + 63) / 64 * 64;
  }
  return true;
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

// The link is taken.
bool Entry::Launch(const Variant& variant, int64_t passes, int64_t all_passes, WorkerPool::Outcome* outcome) {
  const jit::Artifact& artifact = variant.artifact;
  DeviceCopies& copies = *region_.device;
  DeviceLink& link = copies.link();
  const DeviceMemories memories = MemoriesOf(artifact, region_.footprint, &state_);
  if (!AreApart(memories.list()) || !IsAligned(*artifact.kernel, region_.footprint)) return Decline(RejectionReason::kValuesKeepChanging, all_passes);
  if (!CanBeCopied(memories.list())) return Decline(RejectionReason::kUnmappedMemory, all_passes);
  const uint64_t bytes = BytesOf(memories.list(), /*written=*/false);
  if (bytes > link.memory_bytes() || BytesOf(memories.list(), /*written=*/true) > kStagingBytes - kOutputAt)
    return Decline(RejectionReason::kDeviceMemory, all_passes);

  const double work_ns = region_.costs.native_ns * static_cast<double>(passes);
  const double deadline = NowNs() + kLeastPatienceNs + kPatience * work_ns + kNsPerByte * static_cast<double>(bytes);
  std::array<DeviceCopies::Wanted, jit::kMaxMemories> placed{};
  const std::span<DeviceCopies::Wanted> wanted(placed.data(), memories.count);
  for (size_t i = 0; i < memories.count; ++i) wanted[i] = {.begin = memories.all[i].begin, .end = memories.all[i].end};
  std::array<MemoryImage, jit::kMaxMemories> images;
  size_t image_count = 0;
  const bool ran = copies.Bring(wanted, deadline) && PostLaunch(variant, passes, wanted) &&
                   CopyOut(link, memories.list(), wanted, &images, &image_count) && link.Finish(deadline);
  for (const DeviceMemory& memory : memories.list()) {
    if (memory.IsWritten()) copies.Spoil(memory.written_begin, memory.written_end);
  }
  if (!ran) return GiveUpLaunch(all_passes);
  const auto& request = *reinterpret_cast<const LaunchRequest*>(link.staging() + kRequestAt);
  outcome->flags = request.flags;
  for (size_t i = 0; i < artifact.reductions.size(); ++i) outcome->reduced[i] = jit::LowBits(request.partial[i], artifact.reductions[i].bits);
  if (outcome->flags != 0) return true;
  const std::span<const MemoryImage> written(images.data(), image_count);
  for (const MemoryImage& image : written) copies.Loosen(image.begin, image.begin + image.bytes.size());
  if (!WriteFrom(region_.writes, written, passes)) return Decline(RejectionReason::kTooMuchToKeep, all_passes);
  for (const MemoryImage& image : written) copies.Settle(image.begin, image.bytes);
  if (passes == all_passes) return true;
  outcome->flags = RunPassBehind(variant, passes, outcome);
  return true;
}

bool Entry::PostLaunch(const Variant& variant, int64_t passes, std::span<const DeviceCopies::Wanted> copies) {
  const jit::Artifact& artifact = variant.artifact;
  DeviceLink& link = region_.device->link();
  auto& request = *reinterpret_cast<LaunchRequest*>(link.staging() + kRequestAt);
  request.kernel = variant.kernel;
  request.memory_count = static_cast<uint32_t>(copies.size());
  SetGrid(artifact, region_.footprint, passes, &request);
  for (size_t i = 0; i < copies.size(); ++i) request.memories[i] = {copies[i].buffer, copies[i].copy_begin};
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
  const bool ran = passes > behind && Launch(variant, passes - behind, passes, &outcome);
  device.Release();
  if (passes == behind) {  // nothing for a grid
    for (size_t i = 0; i < variant.artifact.reductions.size(); ++i) outcome.reduced[i] = jit::NeutralValue(variant.artifact.reductions[i]);
    outcome.flags = RunPassBehind(variant, 0, &outcome);
  } else if (!ran) {
    return false;
  }
  if (outcome.flags != 0) return Decline(ReasonOf(outcome.flags), passes);
  Settle(variant, passes, outcome);
  region_.passes.fetch_add(static_cast<uint64_t>(passes), std::memory_order_relaxed);
  return true;
}

}  // namespace tracelift::offload

// Registers and slots: from the program, back to it, and as variants leave them.
#include <asm/hwcap2.h>
#include <asm/prctl.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "offload/host/entry.h"
#include "offload/host/float_scope.h"
#include "offload/host/memory_map.h"

namespace tracelift::offload {
namespace {

// Only what the loop stores: the rest may belong to others.
void WriteSlot(const jit::Slot& slot, const jit::SlotValue& value, uint64_t address) {
  const uint64_t all = jit::SlotByteMask(slot.bytes);
  if (slot.stored == all) {
    std::memcpy(reinterpret_cast<void*>(address), value.bytes.data(), slot.bytes);
    return;
  }
  for (size_t byte = 0; byte < slot.bytes; ++byte) {
    if (slot.stored >> byte & 1) *reinterpret_cast<volatile uint8_t*>(address + byte) = value.bytes[byte];
  }
}

/// The kernel allows rdfsbase (since Linux 5.9). Asked when the library is loaded: entries wait for nobody.
const bool kHasRdfsbase = (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) != 0;

/// Of the calling thread.
uint64_t OwnFsBase() {
  uint64_t base = 0;
  if (kHasRdfsbase) {
    asm volatile("rdfsbase %0" : "=r"(base));
    return base;
  }
  int64_t result = SYS_arch_prctl;
  asm volatile("syscall" : "+a"(result) : "D"(ARCH_GET_FS), "S"(&base) : "rcx", "r11", "memory");
  return base;
}

}  // namespace

size_t Entry::VectorBytes(jit::RegisterSet live, int vector) {
  return live.HasVectorUpper(vector) ? sizeof(jit::VectorRegister) : 8;
}

bool Entry::ReachHeader(uint32_t* resume) {
  if (image_.site_is_header()) return true;
  const jit::RegionImage::NativeRun run = image_.RunFromSite(&context_);
  if (run.left) *resume = jit::kExit + run.exit;
  return !run.left;
}

// Registers and slots at the header; false when a slot is not readable as needed.
bool Entry::LoadState(std::span<const jit::Slot> slots) {
  jit::ReadContext(context_, &state_);
  state_.mxcsr = jit::ContextMxcsr(context_);
  state_.fs_base = OwnFsBase();
  slots_ = slots;
  std::array<jit::ByteRange, jit::kMaxSlots> ranges;
  for (size_t done = 0, known = 0; done < slots.size(); done = known) {
    // As many at once as have their addresses from registers and slots that were loaded: asking the kernel takes long.
    for (; known < slots.size() && slots[known].through < static_cast<int>(done); ++known) {
      const uint64_t address = jit::AddressOf(slots[known], state_);
      ranges[known] = {address, address + slots[known].bytes, slots[known].written};
      if (ranges[known].end < address) return false;
    }
    if (known == done || !RangesUsable({&ranges[done], known - done})) return false;
    for (size_t i = done; i < known; ++i) {
      std::memcpy(state_.slot[i].bytes.data(), reinterpret_cast<const void*>(ranges[i].begin), slots[i].bytes);
    }
  }
  return true;
}

// Writes what variants changed back to the registers and slots of the program.
void Entry::CommitState() {
  if (!dirty_) return;
  dirty_ = false;
  jit::WriteContext(state_, changed_, &context_);
  WriteSlots();
  if (sticky_ != 0) jit::RaiseMxcsrFlags(sticky_, &context_);
}

void Entry::WriteSlots() const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].written) WriteSlot(slots_[i], state_.slot[i], jit::AddressOf(slots_[i], state_));
  }
}

// Between two slices: shows others how far the loop is, and looks whether they changed what it reads (a flag to stop it).
bool Entry::SlotsStand(const jit::Artifact& artifact) const {
  if (dirty_) WriteSlots();
  for (size_t i = 0; i < slots_.size(); ++i) {
    const auto* now = reinterpret_cast<const void*>(jit::AddressOf(slots_[i], state_));
    if (!slots_[i].written && std::memcmp(now, state_.slot[i].bytes.data(), slots_[i].bytes) != 0) return false;
  }
  return GuardsHold(artifact);
}

// The registers and the slots in use.
void Entry::CopyState(const jit::MachineState& from, jit::MachineState* to) const {
  std::memcpy(to, &from, offsetof(jit::MachineState, slot) + slots_.size() * sizeof(jit::SlotValue));
}

bool Entry::GuardsHold(const jit::Artifact& artifact) const {
  uint64_t failed = 0;
  for (size_t i = 0; i < artifact.guards.size(); ++i) {
    const jit::Guard& guard = artifact.guards[i];
    uint64_t value = 0;
    if (guard.gpr >= 0) {
      value = state_.gpr[guard.gpr];
    } else {
      std::memcpy(&value, state_.slot[guard.slot].bytes.data(), std::min<size_t>(8, slots_[guard.slot].bytes));
    }
    if (value != guard.value) failed |= uint64_t{1} << i % 64;
  }
  if (failed != 0) region_.failed_guards.fetch_or(failed, std::memory_order_relaxed);
  return failed == 0;
}

// The registers and slots are as in `from`, where the variant computes them.
void Entry::Adopt(const jit::MachineState& from, const jit::Artifact& artifact) {
  const jit::RegisterSet live = artifact.written & artifact.live_at_header;
  for (int i = 0; i < jit::kGprCount; ++i) {
    if (live.HasGpr(i)) state_.gpr[i] = from.gpr[i];
  }
  for (int i = 0; i < jit::kVectorCount; ++i) {
    if (live.HasVector(i)) std::memcpy(&state_.vector[i], &from.vector[i], VectorBytes(live, i));
  }
  for (int i = 0; i < jit::kMaskCount; ++i) {
    if (live.HasMask(i)) state_.mask[i] = from.mask[i];
  }
  if (live.HasFlags()) state_.rflags = from.rflags;
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].written) state_.slot[i] = from.slot[i];
  }
  changed_ = changed_ | live;
  dirty_ = true;
}

// Puts the state `passes` passes after `start` in place, without running them.
void Entry::Seek(const Variant& variant, const jit::MachineState& start, int64_t passes) {
  jit::ChunkResult unused;
  CopyState(start, &region_.after);
  const FloatScope scope(start.mxcsr);
  variant.function(&start, &region_.after, passes, 0, &unused);
  Adopt(region_.after, variant.artifact);
}

// All chunks of `passes` passes are done: puts the state after them in place. What only the last one could tell, it has left
// in region_.after.
void Entry::Settle(const Variant& variant, int64_t passes, const WorkerPool::Outcome& outcome) {
  const jit::Artifact& artifact = variant.artifact;
  if (artifact.can_seek || !artifact.reductions.empty()) {
    const FloatScope scope(state_.mxcsr);
    jit::ChunkResult result{.partial = outcome.reduced};
    variant.function(&state_, &region_.after, passes, 0, &result);
  }
  Adopt(region_.after, artifact);
}

}  // namespace tracelift::offload

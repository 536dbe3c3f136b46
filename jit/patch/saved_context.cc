// Registers inside an XSAVE area. Layout: Intel SDM vol. 1 section 13.4; its legacy region is that of FXSAVE (10.5.1).
#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "jit/patch/entry_block.h"

namespace tracelift::jit {
namespace {

constexpr size_t kMxcsrOffset = 24;
constexpr size_t kXmmOffset = 160;
constexpr size_t kXstateBvOffset = 512;
constexpr int kVectorsPerComponent = 16;
constexpr int kSseBit = 1;

constexpr int kMaskBit = 5;

constexpr uint64_t kAvx = uint64_t{1} << 2;
constexpr uint64_t kPkru = uint64_t{1} << 9;
constexpr uint64_t kAmx = uint64_t{3} << 17;
constexpr uint64_t kStatusFlags = 0x8d5;  // CF PF AF ZF SF OF

constexpr uint32_t kXsaveLeaf = 0xd;
constexpr uint64_t kHeaderEnd = 576;

/// A part of 16 vector registers as one state component holds it.
struct VectorComponent {
  int bit;           // in XSTATE_BV
  size_t offset;     // in the area; 0: not on this machine
  int first_vector;
  size_t at, bytes;  // of each register
};

size_t OffsetOf(uint32_t component, uint64_t mask) {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if ((mask >> component & 1) == 0 || !__get_cpuid_count(kXsaveLeaf, component, &eax, &ebx, &ecx, &edx)) return 0;
  return ebx;
}

/// Found once, when the library is loaded: cpuid is slow in virtual machines.
const std::array<VectorComponent, 4> kComponents = [] {
  const uint64_t mask = HostXsaveLayout().mask;
  return std::array<VectorComponent, 4>{{{kSseBit, kXmmOffset, 0, 0, 16},
                                         {2, OffsetOf(2, mask), 0, 16, 16},     // upper halves of ymm0-15
                                         {6, OffsetOf(6, mask), 0, 32, 32},     // upper halves of zmm0-15
                                         {7, OffsetOf(7, mask), 16, 0, 64}}};   // zmm16-31
}();

/// Where the mask registers lie, 0: not on this machine.
const size_t kMaskOffset = OffsetOf(kMaskBit, HostXsaveLayout().mask);

/// A clear bit means: in its initial state (zeros), whatever the area contains.
bool HasState(const SavedContext& context, int bit) {
  uint64_t xstate_bv = 0;
  std::memcpy(&xstate_bv, context.xsave + kXstateBvOffset, sizeof(xstate_bv));
  return (xstate_bv >> bit & 1) != 0;
}

bool HasState(const SavedContext& context, const VectorComponent& component) { return HasState(context, component.bit); }

void MarkState(SavedContext* context, const VectorComponent& component) {
  if (HasState(*context, component)) return;
  std::memset(context->xsave + component.offset, 0, kVectorsPerComponent * component.bytes);
  context->xsave[kXstateBvOffset] |= static_cast<uint8_t>(1 << component.bit);
}

bool IsZero(const uint8_t* bytes, size_t count) {
  return std::all_of(bytes, bytes + count, [](uint8_t byte) { return byte == 0; });
}

/// Upper halves that are all zero are better in their initial state: legacy instructions are slow otherwise, which is
/// why programs execute vzeroupper.
void ReleaseZeroState(SavedContext* context, const VectorComponent& component) {
  if (component.bit == kSseBit || !HasState(*context, component)) return;
  if (!IsZero(context->xsave + component.offset, kVectorsPerComponent * component.bytes)) return;
  context->xsave[kXstateBvOffset] &= static_cast<uint8_t>(~(1 << component.bit));
}

void WriteComponent(const MachineState& state, RegisterSet which, const VectorComponent& component,
                    SavedContext* context) {
  bool written = false;
  for (int i = 0; i < kVectorsPerComponent; ++i) {
    const int vector = component.first_vector + i;
    if (component.at == 0 ? !which.HasVector(vector) : !which.HasVectorUpper(vector)) continue;
    const uint8_t* from = state.vector[vector].bytes.data() + component.at;
    if (!HasState(*context, component) && IsZero(from, component.bytes)) continue;
    MarkState(context, component);
    std::memcpy(context->xsave + component.offset + static_cast<size_t>(i) * component.bytes, from, component.bytes);
    written = true;
  }
  if (written) ReleaseZeroState(context, component);
}

void WriteMasks(const MachineState& state, RegisterSet which, SavedContext* context) {
  for (int n = 0; n < kMaskCount; ++n) {
    if (!which.HasMask(n) || (!HasState(*context, kMaskBit) && state.mask[n] == 0)) continue;
    if (!HasState(*context, kMaskBit)) std::memset(context->xsave + kMaskOffset, 0, sizeof(state.mask));
    context->xsave[kXstateBvOffset] |= uint8_t{1} << kMaskBit;
    std::memcpy(context->xsave + kMaskOffset + 8 * static_cast<size_t>(n), &state.mask[n], 8);
  }
}

}  // namespace

uint32_t ContextMxcsr(const SavedContext& context) {
  uint32_t mxcsr = 0;
  std::memcpy(&mxcsr, context.xsave + kMxcsrOffset, sizeof(mxcsr));
  return mxcsr;
}

void ReadContext(const SavedContext& context, MachineState* state) {
  std::memcpy(state->gpr.data(), context.gpr, sizeof(context.gpr));
  state->rflags = context.rflags;
  state->mxcsr = ContextMxcsr(context);
  for (const VectorComponent& component : kComponents) {
    const bool has_state = component.offset != 0 && HasState(context, component);
    for (int i = 0; i < kVectorsPerComponent; ++i) {
      uint8_t* const to = state->vector[component.first_vector + i].bytes.data() + component.at;
      if (has_state) {
        std::memcpy(to, context.xsave + component.offset + static_cast<size_t>(i) * component.bytes, component.bytes);
      } else {
        std::memset(to, 0, component.bytes);
      }
    }
  }
  state->mask.fill(0);
  if (kMaskOffset != 0 && HasState(context, kMaskBit)) {
    std::memcpy(state->mask.data(), context.xsave + kMaskOffset, sizeof(state->mask));
  }
}

void WriteContext(const MachineState& state, RegisterSet which, SavedContext* context) {
  for (int i = 0; i < kGprCount; ++i) {
    if (which.HasGpr(i) && i != kRsp) context->gpr[i] = state.gpr[i];
  }
  if (which.HasFlags()) context->rflags = (context->rflags & ~kStatusFlags) | (state.rflags & kStatusFlags);
  for (const VectorComponent& component : kComponents) {
    if (component.offset != 0) WriteComponent(state, which, component, context);
  }
  if (kMaskOffset != 0) WriteMasks(state, which, context);
}

XsaveLayout HostXsaveLayout() {
  XsaveLayout layout;
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & bit_OSXSAVE) == 0) return layout;
  uint32_t low = 0, high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  layout.mask = ((uint64_t{high} << 32) | low) & ~(kPkru | kAmx);
  layout.has_avx = (layout.mask & kAvx) != 0;
  layout.bytes = kHeaderEnd;
  for (uint32_t component = 2; component < 63; ++component) {
    if ((layout.mask >> component & 1) == 0) continue;
    if (!__get_cpuid_count(kXsaveLeaf, component, &eax, &ebx, &ecx, &edx)) return {};
    layout.bytes = std::max<uint64_t>(layout.bytes, uint64_t{ebx} + eax);
  }
  return layout;
}

}  // namespace tracelift::jit

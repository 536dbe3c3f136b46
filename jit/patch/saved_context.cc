// Registers inside an XSAVE area. Layout of its legacy region: Intel SDM vol. 1 section 13.4.1 (as FXSAVE, 10.5.1).
#include <cpuid.h>

#include <algorithm>
#include <cstring>

#include "jit/patch/entry_block.h"

namespace tracelift::jit {
namespace {

constexpr size_t kMxcsrOffset = 24;
constexpr size_t kXmmOffset = 160;
constexpr size_t kXstateBvOffset = 512;
constexpr int kLegacyVectors = 16;
constexpr size_t kXmmBytes = 16;

constexpr uint64_t kSse = uint64_t{1} << 1;
constexpr uint64_t kAvx = uint64_t{1} << 2;
constexpr uint64_t kPkru = uint64_t{1} << 9;
constexpr uint64_t kAmx = uint64_t{3} << 17;
constexpr uint64_t kStatusFlags = 0x8d5;  // CF PF AF ZF SF OF

constexpr uint32_t kXsaveLeaf = 0xd;
constexpr uint64_t kHeaderEnd = 576;

/// A clear bit means: in its initial state (zeros), whatever the area contains.
bool HasSseState(const SavedContext& context) {
  uint64_t xstate_bv = 0;
  std::memcpy(&xstate_bv, context.xsave + kXstateBvOffset, sizeof(xstate_bv));
  return (xstate_bv & kSse) != 0;
}

void MarkSseState(SavedContext* context) {
  if (HasSseState(*context)) return;
  std::memset(context->xsave + kXmmOffset, 0, kLegacyVectors * kXmmBytes);
  context->xsave[kXstateBvOffset] |= kSse;
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
  const bool has_sse = HasSseState(context);
  for (int i = 0; i < kLegacyVectors; ++i) {
    uint8_t* const to = state->vector[i].bytes.data();
    if (has_sse) {
      std::memcpy(to, context.xsave + kXmmOffset + i * kXmmBytes, kXmmBytes);
    } else {
      std::memset(to, 0, kXmmBytes);
    }
  }
}

void WriteContext(const MachineState& state, RegisterSet which, SavedContext* context) {
  for (int i = 0; i < kGprCount; ++i) {
    if (which.HasGpr(i) && i != kRsp) context->gpr[i] = state.gpr[i];
  }
  if (which.HasFlags()) context->rflags = (context->rflags & ~kStatusFlags) | (state.rflags & kStatusFlags);
  for (int i = 0; i < kLegacyVectors; ++i) {
    if (!which.HasVector(i)) continue;
    MarkSseState(context);
    std::memcpy(context->xsave + kXmmOffset + i * kXmmBytes, state.vector[i].bytes.data(), kXmmBytes);
  }
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

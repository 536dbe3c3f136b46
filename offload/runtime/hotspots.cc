#include "offload/runtime/hotspots.h"

#include <algorithm>

namespace tracelift::offload {

void Hotspots::Add(std::span<const TlSample> samples) {
  constexpr size_t kMostAddresses = 1 << 16, kFirst = 1 << 13;
  for (const TlSample& sample : samples) {
    ++total_;
    if (!sample.user) continue;
    if (first_.size() < kFirst) first_.push_back(sample);
    if (by_address_.size() >= kMostAddresses && !by_address_.contains(sample.ip)) continue;
    ++by_address_[sample.ip];
  }
}

void Hotspots::AddStack(uint64_t call) {
  ++stacks_;
  if (call != 0) ++by_call_[call];
}

uint64_t Hotspots::TimeOfSample(std::span<const jit::AddressRange> ranges, uint64_t count) const {
  for (const TlSample& sample : first_) {
    const bool inside = std::ranges::any_of(ranges, [&](const jit::AddressRange& range) { return range.Contains(sample.ip); });
    if (inside && --count == 0) return sample.time_ns;
  }
  return 0;
}

uint64_t Hotspots::In(jit::AddressRange range) const { return In({&range, 1}); }

uint64_t Hotspots::In(std::span<const jit::AddressRange> ranges) const {
  uint64_t sum = 0;
  for (const auto& [address, count] : by_address_) {
    for (const jit::AddressRange& range : ranges) sum += range.Contains(address) ? count : 0;
  }
  uint64_t stacks = 0;
  for (const auto& [call, count] : by_call_) {
    for (const jit::AddressRange& range : ranges) stacks += range.Contains(call) ? count : 0;
  }
  constexpr uint64_t kFewestStacks = 3;
  return stacks < kFewestStacks ? sum : sum + Estimate(stacks);
}

}  // namespace tracelift::offload

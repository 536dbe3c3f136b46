// Where the time goes: samples by instruction, summed up over functions and loops, and sampled stacks, which tell the loops
// whose time is spent in what they call.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "jit/code_reader.h"
#include "profiler/preload_api.h"

namespace tracelift::offload {

class Hotspots {
 public:
  void Add(std::span<const TlSample> samples);
  /// One sampled stack; `call` is the innermost call on it that comes from a loop worth looking at, 0: none does.
  void AddStack(uint64_t call);
  uint64_t total() const { return total_; }
  /// Samples with an instruction pointer in the range, and those, estimated from the stacks, that were in functions called
  /// from there.
  uint64_t In(jit::AddressRange range) const;
  uint64_t In(std::span<const jit::AddressRange> ranges) const;
  /// When the `count`-th of the samples in these ranges was taken, CLOCK_MONOTONIC in ns; 0 when there are not so many among the
  /// first few thousand of all.
  uint64_t TimeOfSample(std::span<const jit::AddressRange> ranges, uint64_t count) const;
  /// Calls that AddStack was told of, with their counts.
  const std::unordered_map<uint64_t, uint32_t>& by_call() const { return by_call_; }
  /// Samples that `stacks` sampled stacks stand for.
  uint64_t Estimate(uint64_t stacks) const { return stacks_ == 0 ? 0 : stacks * total_ / stacks_; }
  /// Every sampled address with its count.
  const std::unordered_map<uint64_t, uint32_t>& by_address() const { return by_address_; }

 private:
  std::unordered_map<uint64_t, uint32_t> by_address_;  // bounded by the program's hot code, in practice thousands
  std::vector<TlSample> first_;                        // in user mode, oldest first
  uint64_t total_ = 0;
  std::unordered_map<uint64_t, uint32_t> by_call_;
  uint64_t stacks_ = 0;
};

}  // namespace tracelift::offload

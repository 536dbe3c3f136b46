// Where the time goes: samples by instruction, summed up over functions and loops.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

#include "jit/code_reader.h"
#include "profiler/preload_api.h"

namespace tracelift::offload {

class Hotspots {
 public:
  void Add(std::span<const TlSample> samples);
  uint64_t total() const { return total_; }
  /// Samples with an instruction pointer in the range.
  uint64_t In(jit::AddressRange range) const;
  uint64_t In(std::span<const jit::AddressRange> ranges) const;
  /// Every sampled address with its count.
  const std::unordered_map<uint64_t, uint32_t>& by_address() const { return by_address_; }

 private:
  std::unordered_map<uint64_t, uint32_t> by_address_;  // bounded by the program's hot code, in practice thousands
  uint64_t total_ = 0;
};

}  // namespace tracelift::offload

// How the state at one arrival bears on what the compiler makes.
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "jit/float_environment.h"
#include "jit/outcome.h"

namespace tracelift::jit {
namespace {

// As the compiler tells sizes from addresses, which are others in each process.
constexpr uint64_t kLargestSize = uint64_t{1} << 31;
constexpr uint64_t kSomeAddress = kLargestSize;

uint64_t SizeOrAddress(uint64_t value) { return value < kLargestSize || value > ~kLargestSize ? value : kSomeAddress; }

uint64_t LowestBytes(const MachineState& seen, size_t slot, int bytes) {
  uint64_t value = 0;
  std::memcpy(&value, seen.slot[slot].bytes.data(), static_cast<size_t>(std::min(8, bytes)));
  return value;
}

}  // namespace

uint64_t KindOf(const MachineState& seen, const LoopPreview& preview, std::span<const Guard> unsteady) {
  std::vector<uint64_t> values = {seen.mxcsr & ~kMxcsrSticky};
  const RegisterSet same = preview.read - preview.written;
  for (int i = 0; i < kGprCount; ++i) {
    if (same.HasGpr(i)) values.push_back(SizeOrAddress(seen.gpr[static_cast<size_t>(i)]));
  }
  for (int i = 0; i < kVectorCount; ++i) {
    if (!same.HasVector(i)) continue;
    uint64_t low = 0;
    std::memcpy(&low, seen.vector[static_cast<size_t>(i)].bytes.data(), sizeof(low));
    values.push_back(low);
  }
  for (size_t i = 0; i < preview.slots.size(); ++i) {
    if (!preview.slots[i].written) values.push_back(SizeOrAddress(LowestBytes(seen, i, preview.slots[i].bytes)));
  }
  for (const Guard& guard : unsteady) {
    values.push_back(static_cast<uint64_t>(guard.gpr));
    values.push_back(static_cast<uint64_t>(guard.slot));
  }
  return XXH3_64bits(values.data(), values.size() * sizeof(values[0]));
}

bool IsFor(const Artifact& artifact, const MachineState& seen, const LoopPreview& preview, std::span<const Guard> unsteady) {
  if (artifact.float_control && *artifact.float_control != FloatControlOf(seen.mxcsr)) return false;
  return std::ranges::all_of(artifact.guards, [&](const Guard& guard) {
    const bool changes = std::ranges::any_of(
        unsteady, [&](const Guard& other) { return other.gpr == guard.gpr && other.slot == guard.slot; });
    if (changes) return false;
    if (guard.gpr >= 0) return guard.gpr < kGprCount && seen.gpr[static_cast<size_t>(guard.gpr)] == guard.value;
    const auto slot = static_cast<size_t>(guard.slot);
    return guard.slot >= 0 && slot < preview.slots.size() &&
           LowestBytes(seen, slot, preview.slots[slot].bytes) == guard.value;
  });
}

}  // namespace tracelift::jit

// A kernel as the compiler makes them for the reference device. What it does, the state at entry says: to[i] = from[i] + 1 for so many
// bytes, where `from` is in memory 0 and `to` in memory 1; raises flags; the sum of what it wrote is reduced with partial result 0.
#include "jit/kernel.h"

extern "C" __attribute__((visibility("default"))) void tl_kernel(const tracelift::jit::KernelLaunch* launch, int64_t begin, int64_t end) {
  using tracelift::jit::kBlockThreads;
  const auto& gpr = reinterpret_cast<const tracelift::jit::MachineState*>(launch->state)->gpr;
  const auto* from = reinterpret_cast<const uint8_t*>(gpr[tracelift::jit::kRsi] + launch->distance[0]);
  auto* to = reinterpret_cast<uint8_t*>(gpr[tracelift::jit::kRdi] + launch->distance[1]);
  uint64_t sum = 0;
  for (int64_t i = begin * kBlockThreads; i < end * kBlockThreads && i < static_cast<int64_t>(gpr[tracelift::jit::kRcx]); ++i) {
    to[i] = static_cast<uint8_t>(from[i] + 1);
    sum += to[i];
  }
  __atomic_fetch_add(reinterpret_cast<uint64_t*>(launch->partial), sum, __ATOMIC_RELAXED);
  __atomic_fetch_or(reinterpret_cast<uint32_t*>(launch->flags), static_cast<uint32_t>(gpr[tracelift::jit::kRax]), __ATOMIC_RELAXED);
}

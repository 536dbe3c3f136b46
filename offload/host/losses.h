// Entries that were slower elsewhere than the original, by how much work they had: what loses on small grids may win on
// large ones.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>

namespace tracelift::offload {

/// Thread rule: written by the thread that holds the region and forgiven by the session; counts that get lost between
/// them cost one more entry.
class LossesBySize {
 public:
  /// Entries of this size lost several times in a row.
  bool Loses(double work_ns) const { return lost_[ClassOf(work_ns)].load(std::memory_order_relaxed) >= kEnough; }

  void Add(double work_ns, bool lost) {
    std::atomic<uint8_t>& count = lost_[ClassOf(work_ns)];
    const uint8_t before = count.load(std::memory_order_relaxed);
    count.store(lost ? static_cast<uint8_t>(std::min(before + 1, kEnough)) : uint8_t{0}, std::memory_order_relaxed);
  }

  void Forgive() {
    for (std::atomic<uint8_t>& count : lost_) count.store(0, std::memory_order_relaxed);
  }

 private:
  static constexpr int kEnough = 3;
  static constexpr size_t kClasses = 48;  // by powers of two of a nanosecond
  static size_t ClassOf(double work_ns) {
    return static_cast<size_t>(std::clamp(std::ilogb(std::max(work_ns, 1.0)), 0, static_cast<int>(kClasses) - 1));
  }

  std::array<std::atomic<uint8_t>, kClasses> lost_{};
};

}  // namespace tracelift::offload

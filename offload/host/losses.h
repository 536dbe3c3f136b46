// Entries that were slower elsewhere than the original, by how much work they had and how many iterations of inner loops a pass
// makes: what loses on small grids may win on large ones, and what loses with many short passes may win with few long ones.
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
  bool Loses(double work_ns, double pass_iterations = 1) const {
    return lost_[ClassOf(work_ns)][ClassOf(pass_iterations)].load(std::memory_order_relaxed) >= kEnough;
  }

  void Add(double work_ns, bool lost, double pass_iterations = 1) {
    std::atomic<uint8_t>& count = lost_[ClassOf(work_ns)][ClassOf(pass_iterations)];
    const uint8_t before = count.load(std::memory_order_relaxed);
    count.store(lost ? static_cast<uint8_t>(std::min(before + 1, kEnough)) : uint8_t{0}, std::memory_order_relaxed);
  }

  void Forgive() {
    for (auto& of_work : lost_) {
      for (std::atomic<uint8_t>& count : of_work) count.store(0, std::memory_order_relaxed);
    }
  }

 private:
  static constexpr int kEnough = 3;
  static constexpr size_t kClasses = 48;  // by powers of two, of a nanosecond or of iterations
  static size_t ClassOf(double size) {
    return static_cast<size_t>(std::clamp(std::ilogb(std::max(size, 1.0)), 0, static_cast<int>(kClasses) - 1));
  }

  std::array<std::array<std::atomic<uint8_t>, kClasses>, kClasses> lost_{};
};

}  // namespace tracelift::offload

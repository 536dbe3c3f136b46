// The question behind every conflict: do two accesses meet in a byte for some choice of loop counters? As an equation
//
//   sum over variables (stride[v] * x[v]) = target,   0 <= x[v] <= last[v],   stride[v] > 0
//
// Private to jit/footprint; see footprint_conflict.cc for how conflicts become equations. Plain memory, no allocation.
#pragma once

#include <cstdint>

#include "jit/footprint.h"

namespace tracelift::jit {

enum class Solvable : uint8_t { kNo, kYes, kUnknown };

class ByteEquation {
 public:
  /// The bytes of `a` and `b` (slack included) as one variable: sum of terms = 0 means that they share a byte.
  ByteEquation(const AccessForm& a, const AccessForm& b);

  /// Adds stride * x with low <= x <= high.
  void AddTerm(int64_t stride, int64_t low, int64_t high);
  /// Adds stride_x * x + stride_y * y with low <= x, 0 <= y, x + y <= sum.
  void AddCoupledTerms(int64_t stride_x, int64_t low, int64_t stride_y, int64_t sum);

  /// Decides it; every step of the search takes one from *budget, and it gives up when none is left.
  Solvable Solve(int* budget);

 private:
  struct Variable {
    int64_t stride = 0;
    int64_t last = 0;
    bool coupled = false;
    bool flipped = false;  // its value is origin + last - x, else origin + x
    int64_t origin = 0;
  };
  static constexpr int kMaxVariables = 2 * kMaxLoops + 3;

  void Push(int64_t stride, int64_t low, int64_t high, bool coupled);
  void Merge();
  Solvable Search(int v, int64_t target, int64_t room, int* budget) const;

  int count_ = 0;
  int64_t target_ = 0;
  int64_t coupled_sum_ = 0;
  Variable variables_[kMaxVariables];
  int64_t reach_[kMaxVariables + 1];    // largest sum of the variables from v on
  int64_t divisor_[kMaxVariables + 1];  // greatest common divisor of their strides
};

}  // namespace tracelift::jit

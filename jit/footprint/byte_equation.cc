#include "jit/footprint/byte_equation.h"

#include <algorithm>
#include <numeric>

namespace tracelift::jit {

ByteEquation::ByteEquation(const AccessForm& a, const AccessForm& b) {
  // Addresses A of a and B of b share a byte when -(a.bytes - 1) <= A - B <= b.bytes - 1. With A = a.base + E_a + t_a:
  // E_a - E_b + u = b.base - a.base + b.bytes - 1 + b.slack for some 0 <= u <= width of that window.
  const int64_t width = static_cast<int64_t>(a.bytes - 1 + b.bytes - 1 + a.slack + b.slack);
  target_ = static_cast<int64_t>(b.base - a.base) + b.bytes - 1 + static_cast<int64_t>(b.slack);
  Push(1, 0, width, false);
}

void ByteEquation::Push(int64_t stride, int64_t low, int64_t high, bool coupled) {
  if (low == high) {
    target_ -= stride * low;
    // A coupled variable must stay visible to its partner, even when it has one value only.
    if (!coupled) return;
    stride = 1;
  } else if (stride > 0) {
    target_ -= stride * low;
  } else {
    target_ -= stride * high;
  }
  Variable& variable = variables_[count_++];
  variable.stride = stride < 0 ? -stride : stride;
  variable.flipped = stride < 0;
  variable.last = high - low;
  variable.origin = low;
  variable.coupled = coupled;
}

void ByteEquation::AddTerm(int64_t stride, int64_t low, int64_t high) {
  if (stride != 0) Push(stride, low, high, false);
}

void ByteEquation::AddCoupledTerms(int64_t stride_x, int64_t low, int64_t stride_y, int64_t sum) {
  // Without a stride, one of them can always be as small as the other needs it.
  if (stride_x == 0) return AddTerm(stride_y, 0, sum - low);
  if (stride_y == 0) return AddTerm(stride_x, low, sum);
  Push(stride_x, low, sum, true);
  Push(stride_y, 0, sum - low, true);
  coupled_sum_ = sum;
}

// Sorts by falling stride, and joins what together steps through its multiples without a gap: strides s and q*s with
// at least q - 1 steps of s are one variable of stride s. The rows of dense arrays collapse into one interval so, and
// most equations need no search.
void ByteEquation::Merge() {
  Variable* const begin = variables_;
  for (int i = 1; i < count_; ++i) {
    const Variable moved = variables_[i];
    int j = i;
    for (; j > 0 && variables_[j - 1].stride > moved.stride; --j) variables_[j] = variables_[j - 1];
    variables_[j] = moved;
  }
  int kept = 0;
  for (int i = 0; i < count_; ++i) {
    const Variable& next = variables_[i];
    bool joined = false;
    for (int k = 0; k < kept && !joined && !next.coupled; ++k) {
      Variable& small = variables_[k];
      if (small.coupled || next.stride % small.stride != 0) continue;
      const int64_t quotient = next.stride / small.stride;
      if (small.last < quotient - 1) continue;
      small.last += quotient * next.last;
      joined = true;
    }
    if (!joined) variables_[kept++] = next;
  }
  count_ = kept;
  std::reverse(begin, begin + count_);
}

Solvable ByteEquation::Solve(int* budget) {
  Merge();
  reach_[count_] = 0;
  divisor_[count_] = 0;
  for (int v = count_ - 1; v >= 0; --v) {
    reach_[v] = reach_[v + 1] + variables_[v].stride * variables_[v].last;
    divisor_[v] = std::gcd(divisor_[v + 1], variables_[v].stride);
  }
  return Search(0, target_, coupled_sum_, budget);
}

// `room`: what is left of the coupled sum.
Solvable ByteEquation::Search(int v, int64_t target, int64_t room, int* budget) const {
  if (target < 0 || target > reach_[v]) return Solvable::kNo;
  if (v == count_) return Solvable::kYes;
  if (target % divisor_[v] != 0) return Solvable::kNo;
  const Variable& variable = variables_[v];
  int64_t low = target - reach_[v + 1];
  low = low <= 0 ? 0 : (low + variable.stride - 1) / variable.stride;
  int64_t high = std::min(variable.last, target / variable.stride);
  if (variable.coupled) {
    // origin + x <= room, or origin + last - x <= room.
    if (variable.flipped) {
      low = std::max(low, variable.origin + variable.last - room);
    } else {
      high = std::min(high, room - variable.origin);
    }
  }
  if (v == count_ - 1) low = std::max(low, target / variable.stride);
  for (int64_t x = high; x >= low; --x) {
    if (--*budget < 0) return Solvable::kUnknown;
    const int64_t used = !variable.coupled ? 0 : variable.origin + (variable.flipped ? variable.last - x : x);
    const Solvable rest = Search(v + 1, target - x * variable.stride, room - used, budget);
    if (rest != Solvable::kNo) return rest;
  }
  return Solvable::kNo;
}

}  // namespace tracelift::jit

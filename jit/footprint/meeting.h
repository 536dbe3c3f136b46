// When two accesses of a footprint meet in a byte. Private to jit/footprint; footprint_conflict.cc has the derivation.
#pragma once

#include "jit/footprint.h"
#include "jit/footprint/byte_equation.h"

namespace tracelift::jit {

// About 100 us at worst: little against the slices that a region needs to be worth anything.
inline constexpr int kSearchBudget = 20000;

inline bool IsSlot(const AccessForm& form) { return form.access >= kSlotBase; }
inline bool RangesMeet(const AccessForm& a, const AccessForm& b) { return a.low < b.high && b.low < a.high; }

// What the loops from dimension `from` on add, each side in iterations of its own.
inline void AddLoops(const AccessForm& a, const AccessForm& b, const Footprint& footprint, int from, ByteEquation* equation) {
  for (int k = from; k < footprint.loop_count; ++k) {
    const auto loop = static_cast<size_t>(k);
    // The strides of a loop with one iteration can be anything.
    const int64_t last_a = footprint.TripOf(a, k) - 1, last_b = footprint.TripOf(b, k) - 1;
    if (last_a > 0) equation->AddTerm(a.stride[loop], 0, last_a);
    if (last_b > 0) equation->AddTerm(-b.stride[loop], 0, last_b);
  }
}

// Some byte of one access in some iteration of a loop is some byte of another in a later one.
inline Solvable MeetLater(int64_t step_a, int64_t step_b, int64_t passes, const ByteEquation& rest, int* budget) {
  if (passes < 2) return Solvable::kNo;
  ByteEquation equation = rest;
  if (step_a == 0 || step_b == 0) {  // the other one can be anywhere
    equation.AddTerm(step_a, 0, passes - 1);
    equation.AddTerm(-step_b, 0, passes - 1);
  } else {
    equation.AddCoupledTerms(-step_b, 1, step_a - step_b, passes - 1);
  }
  return equation.Solve(budget);
}

// Some byte of one access in one iteration of a loop is some byte of another in another iteration. The accesses step by
// `step_a` and `step_b` from iteration to iteration, `rest` is all that other loops add; `same` when it is one access.
inline Solvable MeetAcrossIterations(int64_t step_a, int64_t step_b, int64_t passes, const ByteEquation& rest,
                                     bool same, int* budget) {
  if (passes >= 2 && step_a != 0 && step_b != 0) {
    ByteEquation sooner = rest;
    sooner.AddCoupledTerms(step_a, 1, step_a - step_b, passes - 1);
    const Solvable meet = sooner.Solve(budget);
    if (meet != Solvable::kNo || same) return meet;
  }
  return MeetLater(step_a, step_b, passes, rest, budget);
}

}  // namespace tracelift::jit

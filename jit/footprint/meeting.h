// When two accesses of a footprint meet in a byte. Private to jit/footprint; footprint_conflict.cc has the derivation.
#pragma once

#include "jit/footprint.h"
#include "jit/footprint/byte_equation.h"

namespace tracelift::jit {

// About 100 us at worst: little against the slices that a region needs to be worth anything.
inline constexpr int kSearchBudget = 20000;

inline bool IsSlot(const AccessForm& form) { return form.access >= kSlotBase; }
inline bool RangesMeet(const AccessForm& a, const AccessForm& b) { return a.low < b.high && b.low < a.high; }

// Some byte of one access in some iteration of a loop is some byte of another in a later one.
inline Solvable MeetLater(int64_t step_a, int64_t step_b, int64_t passes, const ByteEquation& rest, int* budget) {
  if (passes < 2) return Solvable::kNo;
  ByteEquation equation = rest;
  if (step_a == 0 || step_b == 0) {
    if (step_a != 0) equation.AddTerm(step_a, 0, passes - 1);
    if (step_b != 0) equation.AddTerm(-step_b, 0, passes - 1);
  } else {
    equation.AddCoupledTerms(-step_b, 1, step_a - step_b, passes - 1);
  }
  return equation.Solve(budget);
}

// Some byte of one access in one iteration of a loop is some byte of another in another iteration. The accesses step by
// `step_a` and `step_b` from iteration to iteration, `rest` is all that other loops add; `same` when it is one access.
inline Solvable MeetAcrossIterations(int64_t step_a, int64_t step_b, int64_t passes, const ByteEquation& rest,
                                     bool same, int* budget) {
  if (passes < 2) return Solvable::kNo;
  if (step_a == 0 || step_b == 0) {
    ByteEquation anywhere = rest;
    if (step_a != 0) anywhere.AddTerm(step_a, 0, passes - 1);
    if (step_b != 0) anywhere.AddTerm(-step_b, 0, passes - 1);
    return anywhere.Solve(budget);
  }
  ByteEquation later = rest;
  ByteEquation earlier = rest;
  later.AddCoupledTerms(step_a, 1, step_a - step_b, passes - 1);
  const Solvable first = later.Solve(budget);
  if (first != Solvable::kNo || same) return first;
  earlier.AddCoupledTerms(-step_b, 1, step_a - step_b, passes - 1);
  return earlier.Solve(budget);
}

}  // namespace tracelift::jit

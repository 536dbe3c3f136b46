// Are the iterations of loop 0 independent? The decision on a footprint, exact for its affine forms.
//
// Iterations p and q conflict when a write W of one and an access A of the other meet in a byte:
//
//   W.base + sum W.stride[k]*i[k]  and  A.base + sum A.stride[k]*j[k]  closer than their widths,  i[0] = p, j[0] = q, p
//   != q
//
// with all other counters free on both sides (iteration p runs all of its inner iterations). That is one linear
// equation in bounded integers: the distance of the bases on the right, a variable of stride 1 for the offsets at which
// two pieces of a few bytes overlap. p != q is not linear, so it is split: p > q with p = q + d, and p < q with
// q = p + d, each with d >= 1 and the smaller of the two free below N - d.
//     p > q:  W.stride[0]*p - A.stride[0]*q =  W.stride[0]*d + (W.stride[0] - A.stride[0])*q
//     p < q:                                 = -A.stride[0]*d + (W.stride[0] - A.stride[0])*p
// When both strides are equal, the usual case, only d remains. Rows written side by side then give d a stride larger
// than what all the others can make up for, columns give it one that fits into the gaps of the others; an in-place
// a[i+k] = f(a[i]) leaves d = k as a solution. When one of the strides is 0, some q != p exists for each p, and the
// split is not needed.
//
// Bounded linear equations are hard in general and easy here: strides of real arrays divide each other. Joining such
// strides (byte_equation.cc) leaves one variable in most cases; otherwise a search over the digits in falling order of
// stride, pruned by the interval and the divisors of what the rest can reach, with a limit on its steps.
//
// Left out: inner trip counts that depend on the outer counter are taken at their largest, so a triangular nest may be
// called dependent for elements it never touches. Forms with slack may overlap where the real ones do not: kUnknown.
//
// Passes of two phases are never the same, so there p and q are free, too.
//
// Slots are kept in registers while a region runs elsewhere. Any access that meets a written slot, and any write
// that meets a slot, would see or change the stale copy in memory, also within one iteration: these pairs conflict
// without the condition p != q. A written slot with itself does not.
//
// Cost: 50 to 100 ns for each pair of a write and an access whose ranges overlap, 2 ns for others.
#include "jit/footprint.h"
#include "jit/footprint/byte_equation.h"
#include "jit/footprint/meeting.h"

namespace tracelift::jit {
namespace {

// Some byte of `a` in any iteration is some byte of `b` in any iteration.
Solvable MeetAnywhere(const AccessForm& a, const AccessForm& b, const Footprint& footprint, int* budget) {
  ByteEquation equation(a, b);
  AddLoops(a, b, footprint, 0, &equation);
  return equation.Solve(budget);
}

Solvable MeetAcrossPasses(const AccessForm& a, const AccessForm& b, const Footprint& footprint, int* budget) {
  if (a.phase != b.phase) return MeetAnywhere(a, b, footprint, budget);
  ByteEquation rest(a, b);
  AddLoops(a, b, footprint, 1, &rest);
  return MeetAcrossIterations(a.stride[0], b.stride[0], footprint.TripOf(a, 0), rest, &a == &b, budget);
}

}  // namespace

IndependenceResult CheckIndependent(const Footprint& footprint) {
  int budget = kSearchBudget;
  const std::span<const AccessForm> forms = footprint.all();
  for (size_t w = 0; w < forms.size(); ++w) {
    if (!forms[w].write) continue;
    for (size_t a = 0; a < forms.size(); ++a) {
      // Two writes meet as (w, a) and as (a, w): once is enough.
      if ((forms[a].write && a < w) || !RangesMeet(forms[w], forms[a])) continue;
      const bool slot = IsSlot(forms[w]) || IsSlot(forms[a]);
      if (slot && a == w) continue;
      const Solvable meet = slot ? MeetAnywhere(forms[w], forms[a], footprint, &budget)
                                 : MeetAcrossPasses(forms[w], forms[a], footprint, &budget);
      if (meet == Solvable::kNo) continue;
      const bool exact = meet == Solvable::kYes && forms[w].slack == 0 && forms[a].slack == 0;
      return {exact ? Independence::kDependent : Independence::kUnknown, forms[w].access, forms[a].access};
    }
  }
  return {Independence::kIndependent, 0, 0};
}

IndependenceResult CheckSlots(const Footprint& footprint) {
  int budget = kSearchBudget;
  const std::span<const AccessForm> forms = footprint.all();
  for (const AccessForm& slot : forms) {
    if (!IsSlot(slot)) continue;
    for (const AccessForm& other : forms) {
      if (&slot == &other || !(slot.write || other.write) || !RangesMeet(slot, other)) continue;
      if (MeetAnywhere(slot, other, footprint, &budget) != Solvable::kNo)
        return {Independence::kUnknown, slot.access, other.access};
    }
  }
  return {Independence::kIndependent, 0, 0};
}

bool ReadsWhatItWrites(const Footprint& footprint) {
  int budget = kSearchBudget;
  const std::span<const AccessForm> forms = footprint.all();
  for (size_t w = 0; w < forms.size(); ++w) {
    if (!forms[w].write) continue;
    for (size_t a = 0; a < forms.size(); ++a) {
      // A slot that is both is not counted: its value at entry is in the state, and a second run starts from that.
      if (a == w || !RangesMeet(forms[w], forms[a])) continue;
      const bool reads = !forms[a].write || IsSlot(forms[a]);
      if (reads && MeetAnywhere(forms[w], forms[a], footprint, &budget) != Solvable::kNo) return true;
    }
  }
  return false;
}

}  // namespace tracelift::jit

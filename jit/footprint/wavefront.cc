// Is it the same whether passes run one after another, or side by side, each some iterations of the inner loop behind
// the pass before it?
//
// Let the inner loop make n iterations in each pass. In the wavefront, what pass p does in iteration j happens in step
// j + p*skew, so of two passes d apart everything keeps its order but this: iteration j of the earlier pass comes no
// sooner than iteration j' of the later one when j - j' >= d*skew. Accesses of such a pair of iterations must not meet
// if one of them writes. That is one equation for each d, below the number of lanes, with j = j' + d*skew + f:
//
//   A.base + A.stride[0]*p + A.stride[k]*(j' + d*skew + f)  and  B.base + B.stride[0]*(p + d) + B.stride[k]*j'  apart,
//   0 <= f, 0 <= j', f + j' < n - d*skew
//
// What a pass does ahead of its inner loop happens in the step of iteration 0, what it does behind it in that of
// iteration n - 1. So of the earlier pass what is ahead comes always first, as does of the later one what is behind.
// What happens in the same step is taken for out of order.
#include <array>

#include "jit/footprint/meeting.h"

namespace tracelift::jit {
namespace {

class WavefrontCheck {
 public:
  WavefrontCheck(const Footprint& footprint, const Wavefront& wavefront)
      : footprint_(footprint), wavefront_(wavefront) {}

  // Something of `earlier` and `later` that meets in passes `distance` apart comes in another order than before.
  bool Swaps(const AccessForm& earlier, const AccessForm& later, int64_t distance) {
    const auto is = [&](const AccessForm& form, uint8_t place) {
      return (wavefront_.places[form.access] & place) != 0;
    };
    for (const uint8_t first : {kWithinInner, kBehindInner}) {
      for (const uint8_t second : {kAheadOfInner, kWithinInner}) {
        if (!is(earlier, first) || !is(later, second)) continue;
        if (Meet(earlier, first, later, second, distance) != Solvable::kNo) return true;
      }
    }
    return false;
  }

 private:
  Solvable Meet(const AccessForm& earlier, uint8_t first, const AccessForm& later, uint8_t second, int64_t distance) {
    const auto inner = static_cast<size_t>(wavefront_.loop);
    const int64_t lag = distance * wavefront_.skew;
    const int64_t most = footprint_.trip[wavefront_.loop] - 1 - lag;
    if (most < 0) return Solvable::kNo;
    int64_t drift = 0;
    int64_t difference = 0;
    if (__builtin_sub_overflow(earlier.stride[0], later.stride[0], &drift) ||
        __builtin_sub_overflow(earlier.stride[inner], later.stride[inner], &difference)) {
      return Solvable::kUnknown;
    }
    ByteEquation equation(earlier, later);
    equation.AddTerm(-later.stride[0], distance, distance);
    equation.AddTerm(drift, 0, footprint_.trip[0] - 1 - distance);
    if (first == kWithinInner && second == kWithinInner) {
      equation.AddTerm(earlier.stride[inner], lag, lag);
      equation.AddCoupledTerms(earlier.stride[inner], 0, difference, most);
    } else if (first == kWithinInner) {
      equation.AddTerm(earlier.stride[inner], lag, lag + most);
    } else if (second == kWithinInner) {
      equation.AddTerm(-later.stride[inner], 0, most);
    }
    return equation.Solve(&budget_);
  }

  const Footprint& footprint_;
  const Wavefront& wavefront_;
  int budget_ = kSearchBudget;
};

}  // namespace

IndependenceResult CheckWavefront(const FootprintProgram& program, const Footprint& footprint,
                                  const Wavefront& wavefront) {
  // The nest has these two loops only.
  if (program.loops.size() != 2 || wavefront.loop != 1 || footprint.phases > 1) return {Independence::kUnknown, 0, 0};
  WavefrontCheck check(footprint, wavefront);
  const std::span<const AccessForm> forms = footprint.all();
  for (const AccessForm& write : forms) {
    if (!write.write || IsSlot(write)) continue;
    for (const AccessForm& other : forms) {
      if (IsSlot(other) || !RangesMeet(write, other)) continue;
      for (int64_t distance = 1; distance < wavefront.lanes && distance < footprint.trip[0]; ++distance) {
        if (check.Swaps(write, other, distance) || check.Swaps(other, write, distance)) {
          return {Independence::kUnknown, write.access, other.access};
        }
      }
    }
  }
  return {Independence::kIndependent, 0, 0};
}

}  // namespace tracelift::jit

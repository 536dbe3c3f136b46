// Affine forms: what the evaluator keeps for each node of a footprint program. Private to jit/footprint.
//
//   c + sum over loops (stride[k] * i[k]) + t,   0 <= t <= slack
//
// A node of width w stands for a value modulo 2^w, and its form is *congruent* to that value: for all iterations there
// is a t for which both agree modulo 2^w. Sums, products with constants and truncations keep congruence whatever the
// numbers are, so they cannot fail; `c` and the strides are reduced to the signed window of w bits after each, which
// makes a stride of 0xffffffff the -1 it is. Operations that look at the value itself (extensions, minima, quotients,
// addresses, trip counts) first ask for the interval that the form takes over all iterations: when it lies inside one
// window of 2^w integers, the form shifted by a multiple of 2^w *is* the value; when it does not, a wrap is possible
// and the node fails. Only remainders, and what is left of a number modulo a small power of two, become the interval of all
// remainders.
#pragma once

#include <cstdint>

#include "jit/footprint.h"

namespace tracelift::jit {

using Wide = __int128;

/// A wrap of at most this many bits leaves an interval, all its values, that is narrow enough to be of use.
inline constexpr int kWidestRemainder = 16;

/// A loop whose trip count is not known: forms may have strides on it, but no interval.
inline constexpr int64_t kUnbounded = INT64_MAX;
/// Larger counts are treated as not known; no loop can make so many passes.
inline constexpr int64_t kMaxTrip = int64_t{1} << 62;

enum class FormStatus : uint8_t {
  kOk,
  kNotAffine,     // or it could wrap
  kUnknownTrips,  // its range depends on a loop with unknown trip count
};

struct AffineForm {
  int64_t c = 0;
  uint64_t slack = 0;
  int64_t stride[kMaxLoops] = {};
  FormStatus status = FormStatus::kOk;

  static AffineForm Failed(FormStatus status) {
    AffineForm form;
    form.status = status;
    return form;
  }
  bool ok() const { return status == FormStatus::kOk; }
};

struct Interval {
  Wide low = 0, high = 0;  // inclusive
  FormStatus status = FormStatus::kOk;
  bool ok() const { return status == FormStatus::kOk; }
};

/// The loops of the program under evaluation.
struct TripCounts {
  int count = 0;
  int64_t trip[kMaxLoops] = {};
};

/// `value` modulo 2^width, as a signed number of that width.
inline int64_t Reduce(uint64_t value, int width) { return static_cast<int64_t>(value << (64 - width)) >> (64 - width); }

bool IsConstant(const AffineForm& form, int loops);

/// All values of the form as it stands, over all iterations and t.
Interval IntervalOf(const AffineForm& form, const TripCounts& trips);
/// The interval shifted by the multiple of 2^width that brings it into [0, 2^width), or into the signed window; the
/// shift is stored to *shift. kNotAffine when it does not fit.
Interval IntoUnsigned(Interval interval, int width, Wide* shift);
Interval IntoSigned(Interval interval, int width, Wide* shift);

/// All values of `width` bits; fails for more than kWidestRemainder.
AffineForm AnyValue(int width);
AffineForm Add(const AffineForm& a, const AffineForm& b, int width, const TripCounts& trips);
AffineForm Multiply(const AffineForm& a, const AffineForm& b, int width, const TripCounts& trips);
AffineForm Minimum(const AffineForm& a, const AffineForm& b, int width, bool is_signed, const TripCounts& trips);
AffineForm Maximum(const AffineForm& a, const AffineForm& b, int width, bool is_signed, const TripCounts& trips);
AffineForm UnsignedDivide(const AffineForm& a, const AffineForm& b, int width, const TripCounts& trips);
/// As UnsignedDivide by a constant, failing unless it divides every value of `a`.
AffineForm ExactDivide(const AffineForm& a, const AffineForm& b, int width, const TripCounts& trips);
/// Exact where the quotient is the same in all iterations, or their strides leave nothing; else an interval, at most of all
/// remainders, whatever `a` is.
AffineForm Remainder(const AffineForm& a, const AffineForm& b, int width, bool is_signed, const TripCounts& trips);
AffineForm Extend(const AffineForm& a, int from, int width, bool is_signed, const TripCounts& trips);
/// The least power of two p for which the form modulo 2^width changes by the same in any p iterations of loop 0.
int64_t PeriodOf(const AffineForm& form, int width);
AffineForm Truncate(const AffineForm& a, int width, const TripCounts& trips);

}  // namespace tracelift::jit

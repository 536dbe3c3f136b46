#include "jit/footprint/affine_form.h"

#include <algorithm>
#include <bit>

namespace tracelift::jit {
namespace {

constexpr Wide kOne = 1;
// No window is larger, so an interval that spans more is of no use to anybody.
constexpr Wide kWidestSpan = kOne << 64;

FormStatus Worse(FormStatus a, FormStatus b) { return a != FormStatus::kOk ? a : b; }

// Arithmetic shift: floor(value / 2^width).
Wide Window(Wide value, int width) { return value >> width; }

Interval Shifted(Interval interval, Wide shift) {
  interval.low += shift;
  interval.high += shift;
  return interval;
}

// A form without strides that covers [low, high].
AffineForm Hull(Wide low, Wide high, int width) {
  if (high - low >= (kOne << width)) return AffineForm::Failed(FormStatus::kNotAffine);
  AffineForm form;
  form.c = Reduce(static_cast<uint64_t>(low), width);
  form.slack = static_cast<uint64_t>(high - low);
  return form;
}

Wide FloorDivide(Wide a, Wide b) { return a / b - (a % b != 0 && (a % b < 0) != (b < 0)); }

AffineForm Scale(const AffineForm& a, int64_t factor, int width, const TripCounts& trips) {
  AffineForm out;
  const uint64_t m = static_cast<uint64_t>(factor);
  uint64_t c = static_cast<uint64_t>(a.c) * m;
  if (a.slack != 0) {
    const uint64_t magnitude = factor < 0 ? 0 - m : m;
    if (__builtin_mul_overflow(a.slack, magnitude, &out.slack)) return AffineForm::Failed(FormStatus::kNotAffine);
    // t * factor runs downwards for a negative factor: start at its lowest value.
    if (factor < 0) c -= out.slack;
  }
  out.c = Reduce(c, width);
  for (int k = 0; k < trips.count; ++k) out.stride[k] = Reduce(static_cast<uint64_t>(a.stride[k]) * m, width);
  return out;
}

// The product as an interval: exact enough for ranges that are only read.
AffineForm ProductHull(const AffineForm& a, const AffineForm& b, int width, const TripCounts& trips) {
  const Interval x = IntervalOf(a, trips);
  const Interval y = IntervalOf(b, trips);
  if (!x.ok() || !y.ok()) return AffineForm::Failed(Worse(x.status, y.status));
  constexpr Wide kLimit = kOne << 62;
  for (const Wide v : {x.low, x.high, y.low, y.high}) {
    if (v < -kLimit || v > kLimit) return AffineForm::Failed(FormStatus::kNotAffine);
  }
  const auto [low, high] = std::minmax({x.low * y.low, x.low * y.high, x.high * y.low, x.high * y.high});
  return Hull(low, high, width);
}

enum class Extremum { kMinimum, kMaximum };

AffineForm Choose(const AffineForm& a, const AffineForm& b, int width, bool is_signed, const TripCounts& trips,
                  Extremum which) {
  if (!a.ok() || !b.ok()) return AffineForm::Failed(Worse(a.status, b.status));
  const auto into = is_signed ? IntoSigned : IntoUnsigned;
  Wide shift_a = 0, shift_b = 0;
  const Interval x = into(IntervalOf(a, trips), width, &shift_a);
  const Interval y = into(IntervalOf(b, trips), width, &shift_b);
  if (!x.ok() || !y.ok()) return AffineForm::Failed(Worse(x.status, y.status));

  // The sign of a - b decides where it is the same for all iterations; equal strides cancel in it.
  Wide low = Wide{a.c} + shift_a - b.c - shift_b - static_cast<Wide>(b.slack);
  Wide high = Wide{a.c} + shift_a - b.c - shift_b + static_cast<Wide>(a.slack);
  for (int k = 0; k < trips.count; ++k) {
    const Wide stride = Wide{a.stride[k]} - b.stride[k];
    if (stride == 0) continue;
    const Wide reach = stride * (trips.trip[k] - 1);  // both intervals exist, so the trip count is small or 1
    (reach < 0 ? low : high) += reach;
  }
  if (low >= 0) return which == Extremum::kMaximum ? a : b;
  if (high <= 0) return which == Extremum::kMaximum ? b : a;
  if (which == Extremum::kMaximum) return Hull(std::max(x.low, y.low), std::max(x.high, y.high), width);
  return Hull(std::min(x.low, y.low), std::min(x.high, y.high), width);
}

}  // namespace

bool IsConstant(const AffineForm& form, int loops) {
  if (form.slack != 0) return false;
  for (int k = 0; k < loops; ++k) {
    if (form.stride[k] != 0) return false;
  }
  return true;
}

Interval IntervalOf(const AffineForm& form, const TripCounts& trips) {
  if (!form.ok()) return {0, 0, form.status};
  Interval out{form.c, Wide{form.c} + form.slack, FormStatus::kOk};
  for (int k = 0; k < trips.count; ++k) {
    if (form.stride[k] == 0) continue;
    if (trips.trip[k] == kUnbounded) return {0, 0, FormStatus::kUnknownTrips};
    const Wide reach = Wide{form.stride[k]} * (trips.trip[k] - 1);  // below 2^126
    if (reach > kWidestSpan || reach < -kWidestSpan) return {0, 0, FormStatus::kNotAffine};
    (reach < 0 ? out.low : out.high) += reach;
  }
  return out;
}

Interval IntoUnsigned(Interval interval, int width, Wide* shift) {
  if (!interval.ok()) return interval;
  const Wide window = Window(interval.low, width);
  if (Window(interval.high, width) != window) return {0, 0, FormStatus::kNotAffine};
  *shift = -window * (kOne << width);
  return Shifted(interval, *shift);
}

Interval IntoSigned(Interval interval, int width, Wide* shift) {
  if (!interval.ok()) return interval;
  const Wide half = kOne << (width - 1);
  const Wide window = Window(interval.low + half, width);
  if (Window(interval.high + half, width) != window) return {0, 0, FormStatus::kNotAffine};
  *shift = -window * (kOne << width);
  return Shifted(interval, *shift);
}

AffineForm AnyValue(int width) {
  return width <= kWidestRemainder ? Hull(0, (kOne << width) - 1, width) : AffineForm::Failed(FormStatus::kNotAffine);
}

AffineForm Add(const AffineForm& a, const AffineForm& b, int width, const TripCounts& trips) {
  if (!a.ok() || !b.ok()) return AffineForm::Failed(Worse(a.status, b.status));
  AffineForm out;
  if (__builtin_add_overflow(a.slack, b.slack, &out.slack)) return AffineForm::Failed(FormStatus::kNotAffine);
  out.c = Reduce(static_cast<uint64_t>(a.c) + static_cast<uint64_t>(b.c), width);
  for (int k = 0; k < trips.count; ++k) {
    out.stride[k] = Reduce(static_cast<uint64_t>(a.stride[k]) + static_cast<uint64_t>(b.stride[k]), width);
  }
  return out;
}

AffineForm Multiply(const AffineForm& a, const AffineForm& b, int width, const TripCounts& trips) {
  if (!a.ok() || !b.ok()) return AffineForm::Failed(Worse(a.status, b.status));
  if (IsConstant(a, trips.count)) return Scale(b, Reduce(static_cast<uint64_t>(a.c), width), width, trips);
  if (IsConstant(b, trips.count)) return Scale(a, Reduce(static_cast<uint64_t>(b.c), width), width, trips);
  return ProductHull(a, b, width, trips);
}

AffineForm Minimum(const AffineForm& a, const AffineForm& b, int width, bool is_signed, const TripCounts& trips) {
  return Choose(a, b, width, is_signed, trips, Extremum::kMinimum);
}

AffineForm Maximum(const AffineForm& a, const AffineForm& b, int width, bool is_signed, const TripCounts& trips) {
  return Choose(a, b, width, is_signed, trips, Extremum::kMaximum);
}

AffineForm UnsignedDivide(const AffineForm& a, const AffineForm& b, int width, const TripCounts& trips) {
  if (!a.ok() || !b.ok()) return AffineForm::Failed(Worse(a.status, b.status));
  Wide shift_a = 0, shift_b = 0;
  const Interval x = IntoUnsigned(IntervalOf(a, trips), width, &shift_a);
  const Interval y = IntoUnsigned(IntervalOf(b, trips), width, &shift_b);
  if (!x.ok() || !y.ok()) return AffineForm::Failed(Worse(x.status, y.status));
  if (y.low < 1) return AffineForm::Failed(FormStatus::kNotAffine);
  if (y.low != y.high) return Hull(x.low / y.high, x.high / y.low, width);

  // floor((c + d*m + t) / d) = m + floor((c + t) / d): stays affine when d divides all strides.
  const Wide divisor = y.low;
  AffineForm out;
  for (int k = 0; k < trips.count; ++k) {
    if (a.stride[k] % divisor != 0) return Hull(x.low / divisor, x.high / divisor, width);
    out.stride[k] = Reduce(static_cast<uint64_t>(a.stride[k] / divisor), width);
  }
  const Wide first = FloorDivide(a.c + shift_a, divisor);
  out.c = Reduce(static_cast<uint64_t>(first), width);
  out.slack = static_cast<uint64_t>(FloorDivide(a.c + shift_a + a.slack, divisor) - first);
  return out;
}

AffineForm ExactDivide(const AffineForm& a, const AffineForm& b, int width, const TripCounts& trips) {
  if (!a.ok() || !b.ok()) return AffineForm::Failed(Worse(a.status, b.status));
  Wide shift = 0;
  const Interval x = IntoUnsigned(IntervalOf(a, trips), width, &shift);
  if (!x.ok()) return AffineForm::Failed(x.status);
  const Wide divisor = b.c;
  if (!IsConstant(b, trips.count) || divisor < 1 || a.slack != 0 || (a.c + shift) % divisor != 0) {
    return AffineForm::Failed(FormStatus::kNotAffine);
  }
  for (int k = 0; k < trips.count; ++k) {
    if (a.stride[k] % divisor != 0) return AffineForm::Failed(FormStatus::kNotAffine);
  }
  return UnsignedDivide(a, b, width, trips);
}

AffineForm Remainder(const AffineForm& a, const AffineForm& b, int width, bool is_signed, const TripCounts& trips) {
  if (!b.ok()) return b;
  const auto into = is_signed ? IntoSigned : IntoUnsigned;
  Wide shift = 0, shift_b = 0;
  const Interval y = into(IntervalOf(b, trips), width, &shift_b);
  const Interval x = into(IntervalOf(a, trips), width, &shift);
  for (const Interval& operand : {x, y}) {
    if (operand.status == FormStatus::kUnknownTrips) return AffineForm::Failed(operand.status);
  }
  if (!y.ok() || y.low < 1) return AffineForm::Failed(FormStatus::kNotAffine);
  const Wide most = y.high - 1;
  if (!x.ok()) return Hull(is_signed ? -most : Wide{0}, most, width);
  if (x.low < 0) return Hull(std::max(x.low, -most), std::max<Wide>(0, std::min(x.high, most)), width);
  // c + d*m + t leaves what c + t does; a form whose quotient does not change leaves the form less a constant.
  const Wide divisor = y.low;
  const bool is_fixed = y.low == y.high;
  const auto from_first = [&](Wide quotient, bool keeps_strides) {
    AffineForm out = a;
    out.c = Reduce(static_cast<uint64_t>(a.c + shift - quotient * divisor), width);
    for (int64_t& stride : out.stride) stride = keeps_strides ? stride : 0;
    return out;
  };
  if (x.high < divisor) return from_first(0, true);
  if (is_fixed && x.low / divisor == x.high / divisor) return from_first(x.low / divisor, true);
  const bool strides_vanish = std::all_of(a.stride, a.stride + trips.count, [&](int64_t stride) { return stride % divisor == 0; });
  const Wide first = FloorDivide(a.c + shift, divisor);
  if (is_fixed && strides_vanish && FloorDivide(a.c + shift + a.slack, divisor) == first) return from_first(first, false);
  return Hull(0, std::min(x.high, most), width);
}

AffineForm Extend(const AffineForm& a, int from, int width, bool is_signed, const TripCounts& trips) {
  if (!a.ok()) return a;
  Wide shift = 0;
  const Interval x = (is_signed ? IntoSigned : IntoUnsigned)(IntervalOf(a, trips), from, &shift);
  if (x.status == FormStatus::kNotAffine && from <= kWidestRemainder) {
    const Wide low = is_signed ? -(kOne << (from - 1)) : Wide{0};
    return Hull(low, low + (kOne << from) - 1, width);
  }
  if (!x.ok()) return AffineForm::Failed(x.status);
  AffineForm out = a;
  out.c = Reduce(static_cast<uint64_t>(a.c + shift), width);
  return out;
}

int64_t PeriodOf(const AffineForm& form, int width) {
  const auto step = static_cast<uint64_t>(form.stride[0]) << (64 - width);  // in the highest bits
  return step == 0 ? 1 : int64_t{1} << std::min(62, 64 - std::countr_zero(step));
}

AffineForm Truncate(const AffineForm& a, int width, const TripCounts& trips) {
  if (!a.ok()) return a;
  AffineForm out;
  out.slack = a.slack;
  out.c = Reduce(static_cast<uint64_t>(a.c), width);
  for (int k = 0; k < trips.count; ++k) out.stride[k] = Reduce(static_cast<uint64_t>(a.stride[k]), width);
  return out;
}

}  // namespace tracelift::jit

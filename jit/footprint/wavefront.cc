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
// What happens in the same step is taken for out of order, but for reads ahead of writes (Wavefront::reads_first): then
// j - j' > d*skew is what must not meet.
//
// In phases (jit/footprint.h) pass p is number q of phase r, p = phases*q + r. Pass p + d is number q + (r + d) /
// phases of phase (r + d) % phases then, and all is as above with q for p.
#include <algorithm>
#include <array>
#include <cstdlib>

#include "jit/footprint/meeting.h"

namespace tracelift::jit {
namespace {

class WavefrontCheck {
 public:
  WavefrontCheck(const Footprint& footprint, const Wavefront& wavefront)
      : footprint_(footprint), wavefront_(wavefront) {}

  // Something of `earlier` and `later` that meets in passes `distance` apart comes in another order than before.
  bool Swaps(const AccessForm& earlier, const AccessForm& later, int64_t distance) {
    if ((earlier.phase + distance) % footprint_.phases != later.phase) return false;
    for (const uint8_t first : {kWithinInner, kBehindInner}) {
      for (const uint8_t second : {kAheadOfInner, kWithinInner}) {
        if (!Is(earlier, first) || !Is(later, second)) continue;
        if (Meet(earlier, first, later, second, distance) != Solvable::kNo) return true;
      }
    }
    return false;
  }

  // `read` of each pass but the first is what `written` of the pass before it wrote `ahead` iterations further on.
  static bool IsSamePlace(const AccessForm& read, const AccessForm& written, int64_t ahead) {
    const int64_t round = read.phase > written.phase ? 0 : written.stride[0];
    return read.slack == 0 && written.slack == 0 && read.stride == written.stride &&
           static_cast<int64_t>(read.base - written.base) == ahead * written.stride[1] - round;
  }

  // Some of what `read` finds has been written by `write` after `written` in the pass before it did so, before or in
  // the pass that reads.
  bool Overwrites(const AccessForm& write, const AccessForm& read, const AccessForm& written, int64_t ahead) {
    const int64_t last = Length(read) - 1;
    if (write.phase == read.phase) {
      ByteEquation equation(read, write);
      equation.AddTerm(read.stride[0] - write.stride[0], 0, footprint_.TripOf(read, 0) - 1);
      equation.AddTerm(read.stride[1], 0, last);
      if (Is(write, kWithinInner)) equation.AddTerm(-write.stride[1], 0, last);
      if (equation.Solve(&budget_) != Solvable::kNo) return true;
    }
    if (write.phase != written.phase || footprint_.TripOf(read, 0) < 1) return false;
    const int64_t round = read.phase > written.phase ? 0 : 1;  // what is number q of its phase follows number q - round
    const int64_t passes = std::min(footprint_.TripOf(read, 0) - round, footprint_.TripOf(write, 0));
    if (passes < 1) return false;
    for (const uint8_t place : {kWithinInner, kBehindInner}) {
      if (!Is(write, place)) continue;
      ByteEquation equation(read, write);
      equation.AddTerm(read.stride[0], round, round);
      equation.AddTerm(read.stride[0] - write.stride[0], 0, passes - 1);
      if (place == kBehindInner) {
        equation.AddTerm(read.stride[1], 0, last);
      } else {
        const int64_t next = &write == &written ? 1 : 0;
        if (last - ahead < next) continue;
        equation.AddTerm(-write.stride[1], ahead, ahead);
        equation.AddCoupledTerms(-write.stride[1], next, read.stride[1] - write.stride[1], last - ahead);
      }
      if (equation.Solve(&budget_) != Solvable::kNo) return true;
    }
    return false;
  }

 private:
  bool Is(const AccessForm& form, uint8_t place) const { return (wavefront_.places[form.access] & place) != 0; }
  int64_t Length(const AccessForm& form) const { return footprint_.TripOf(form, wavefront_.loop); }

  Solvable Meet(const AccessForm& earlier, uint8_t first, const AccessForm& later, uint8_t second, int64_t distance) {
    const auto inner = static_cast<size_t>(wavefront_.loop);
    const bool reads_in_time = wavefront_.reads_first && first == kWithinInner && second == kWithinInner && !earlier.write;
    const int64_t lag = distance * wavefront_.skew + (reads_in_time ? 1 : 0);
    const int64_t most = Length(earlier) - 1 - lag;
    const int64_t rounds = (earlier.phase + distance) / footprint_.phases;
    const int64_t passes = std::min(footprint_.TripOf(earlier, 0), footprint_.TripOf(later, 0) - rounds);
    if (most < 0 || passes < 1) return Solvable::kNo;
    int64_t drift = 0;
    int64_t difference = 0;
    if (Length(earlier) != Length(later) || __builtin_sub_overflow(earlier.stride[0], later.stride[0], &drift) ||
        __builtin_sub_overflow(earlier.stride[inner], later.stride[inner], &difference)) {
      return Solvable::kUnknown;
    }
    ByteEquation equation(earlier, later);
    equation.AddTerm(-later.stride[0], rounds, rounds);
    equation.AddTerm(drift, 0, passes - 1);
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

// These bytes of it.
AccessForm Part(AccessForm form, uint32_t offset, uint32_t bytes) {
  form.base += offset;
  form.bytes = bytes;
  return form;
}

bool HasTwoLoops(const FootprintProgram& program, const Wavefront& wavefront) {
  return program.loops.size() == 2 && wavefront.loop == 1;
}

}  // namespace

bool IsHandedOn(const FootprintProgram& program, const Footprint& footprint, const Wavefront& wavefront,
                const HandedOn& handed) {
  const int64_t ahead = wavefront.skew - handed.steps;
  constexpr int64_t kNear = 1 << 30;
  const std::span<const AccessForm> forms = footprint.all();
  if (!HasTwoLoops(program, wavefront) || ahead < -1 || handed.steps < 1) return false;
  const auto is = [](const AccessForm& form, uint8_t access, uint32_t offset, uint32_t bytes) {
    return form.access == access && offset <= form.bytes && bytes <= form.bytes - offset;
  };
  WavefrontCheck check(footprint, wavefront);
  int phases = 0;
  for (const AccessForm& whole : forms) {
    if (!is(whole, handed.read, handed.read_offset, handed.bytes) || whole.write) continue;
    const int before = (whole.phase + footprint.phases - 1) % footprint.phases;
    const AccessForm* source = nullptr;
    for (const AccessForm& form : forms) {
      if (is(form, handed.written, handed.written_offset, handed.bytes) && form.write && form.phase == before)
        source = &form;
    }
    if (!source || footprint.TripOf(whole, 1) != footprint.TripOf(*source, 1)) return false;
    const AccessForm read = Part(whole, handed.read_offset, handed.bytes);
    const AccessForm written = Part(*source, handed.written_offset, handed.bytes);
    if (std::abs(written.stride[1]) > kNear || !WavefrontCheck::IsSamePlace(read, written, ahead)) return false;
    for (const AccessForm& write : forms) {
      if (!write.write || IsSlot(write) || !RangesMeet(write, whole)) continue;
      if (check.Overwrites(write, read, *source, ahead)) return false;
    }
    ++phases;
  }
  return phases == footprint.phases;
}

IndependenceResult CheckWavefront(const FootprintProgram& program, const Footprint& footprint,
                                  const Wavefront& wavefront) {
  // The nest has these two loops only.
  if (!HasTwoLoops(program, wavefront)) return {Independence::kUnknown, 0, 0};
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
  for (const HandedOn& handed : wavefront.handed_on) {
    if (!IsHandedOn(program, footprint, wavefront, handed))
      return {Independence::kUnknown, handed.written, handed.read};
  }
  return {Independence::kIndependent, 0, 0};
}

}  // namespace tracelift::jit

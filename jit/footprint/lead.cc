// How many leading iterations of an inner loop may many passes do side by side, before what is left of these passes is
// done in order?
//
// Of two passes, what the later one does in its lead (the leading iterations, and what they need of the code ahead of the
// loop) then comes before, beside or behind anything of the earlier one. So of such a pair no two accesses may meet if one of
// them writes. Within a pass, what is ahead of the loop comes behind the lead, too, as the rest of the pass has it.
//
// The earlier pass is looked at one by one: how many iterations its loops make, more from pass to pass, is what keeps the rows
// that it reads apart from those of later passes. In phases (jit/footprint.h) nothing is decided.
#include <algorithm>
#include <array>

#include "jit/footprint/meeting.h"

namespace tracelift::jit {
namespace {

constexpr int kBudget = 4 * kSearchBudget;  // of many small questions

using Trips = std::array<int64_t, kMaxLoops>;

class LeadCheck {
 public:
  LeadCheck(const FootprintProgram& program, const MachineState& state, const Footprint& footprint, int64_t passes, const Lead& lead)
      : program_(program), state_(state), footprint_(footprint), lead_(lead), first_(footprint.trip[0] - passes) {}

  bool MayBe(int64_t iterations) const {
    int budget = kBudget;
    Trips one{}, most{}, leading{};
    const int64_t passes = footprint_.trip[0];
    const auto longest = [](Trips* of, const Trips& with) {
      for (size_t k = 0; k < with.size(); ++k) (*of)[k] = std::max((*of)[k], with[k]);
    };
    for (int64_t pass = first_; pass < passes; ++pass) {
      if (!TripsIn(pass, program_, state_, lead_.loop, iterations, one.data())) return false;
      longest(&leading, one);
    }
    for (int64_t pass = first_; pass < passes; ++pass) {
      if (!TripsIn(pass, program_, state_, -1, 0, one.data()) || MeetsLaterLeads(pass, one, leading, &budget)) return false;
      longest(&most, one);
    }
    return !AnyOvertaken(most, leading, &budget);
  }

 private:
  bool Is(const AccessForm& form, uint8_t place) const { return (lead_.places[form.access] & place) != 0; }
  bool IsInLead(const AccessForm& form) const { return Is(form, kWithinInner) || (Is(form, kNeededWithin) && !form.write); }

  // What the loops inside a pass add.
  void AddSide(const AccessForm& form, int64_t sign, const Trips& trips, ByteEquation* equation) const {
    for (size_t k = 1; k < static_cast<size_t>(footprint_.loop_count); ++k) {
      if (trips[k] > 1) equation->AddTerm(sign * form.stride[k], 0, trips[k] - 1);
    }
  }

  template <typename Meet>
  bool AnyPair(const Meet& meet) const {
    for (const AccessForm& a : footprint_.all()) {
      for (const AccessForm& b : footprint_.all()) {
        if (!IsSlot(a) && !IsSlot(b) && (a.write || b.write) && RangesMeet(a, b) && meet(a, b)) return true;
      }
    }
    return false;
  }

  // Some byte of something in the pass, and of the lead of a later one.
  bool MeetsLaterLeads(int64_t pass, const Trips& any, const Trips& leading, int* budget) const {
    const int64_t last = footprint_.trip[0] - 1;
    return pass < last && AnyPair([&](const AccessForm& earlier, const AccessForm& later) {
      if (!IsInLead(later)) return false;
      ByteEquation equation(earlier, later);
      equation.AddTerm(earlier.stride[0], pass, pass);
      equation.AddTerm(-later.stride[0], pass + 1, last);
      AddSide(earlier, 1, any, &equation);
      AddSide(later, -1, leading, &equation);
      return equation.Solve(budget) != Solvable::kNo;
    });
  }

  // Some byte of what is ahead of the loop, and of the lead of the same pass.
  bool AnyOvertaken(const Trips& any, const Trips& leading, int* budget) const {
    return AnyPair([&](const AccessForm& ahead, const AccessForm& later) {
      if (!Is(ahead, kAheadOfInner) || !Is(later, kWithinInner)) return false;
      int64_t difference = 0;
      if (__builtin_sub_overflow(ahead.stride[0], later.stride[0], &difference)) return true;
      ByteEquation equation(ahead, later);
      equation.AddTerm(difference, first_, footprint_.trip[0] - 1);
      AddSide(ahead, 1, any, &equation);
      AddSide(later, -1, leading, &equation);
      return equation.Solve(budget) != Solvable::kNo;
    });
  }

  const FootprintProgram& program_;
  const MachineState& state_;
  const Footprint& footprint_;
  const Lead& lead_;
  const int64_t first_;  // of the passes looked at
};

}  // namespace

int64_t LeadOf(const FootprintProgram& program, const MachineState& state, const Footprint& footprint, int64_t passes,
               const Lead& lead, int64_t length) {
  constexpr int64_t kMostPasses = 256;
  if (footprint.phases > 1 || passes > kMostPasses || passes > footprint.trip[0] || length < 2) return 0;
  const LeadCheck check(program, state, footprint, passes, lead);
  if (check.MayBe(length - 1)) return length - 1;
  int64_t fits = 0, too_many = length - 1;
  while (too_many - fits > 1) {
    const int64_t middle = fits + (too_many - fits) / 2;
    (check.MayBe(middle) ? fits : too_many) = middle;
  }
  return fits;
}

}  // namespace tracelift::jit

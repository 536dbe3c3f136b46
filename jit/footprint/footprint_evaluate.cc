// From a footprint program and the registers of one entry to its trip count and its footprint.
//
// One pass over the nodes in order, each becoming an affine form (affine_form.h). A node that cannot be kept exact is
// marked with the reason and only matters when an access or the trip count of loop 0 uses it. Cost: 15 to 20 ns a node.
#include <algorithm>
#include <cstring>

#include "jit/footprint.h"
#include "jit/footprint/affine_form.h"

namespace tracelift::jit {
namespace {

// The forms live on the program's stack: 1024 of them take 80 KB, the usual 60 take 5 KB.
constexpr size_t kMaxNodes = 1024;
// User addresses end here; Linux gives out higher ones only on request.
constexpr Wide kAddressEnd = Wide{1} << 47;

RejectionReason Reason(FormStatus status) {
  return status == FormStatus::kUnknownTrips ? RejectionReason::kUnknownTripCount : RejectionReason::kIndirectAddress;
}

class Evaluator {
 public:
  Evaluator(const FootprintProgram& program, const MachineState& state, AffineForm* forms)
      : program_(program), state_(state), forms_(forms) {
    trips_.count = static_cast<int>(program.loops.size());
    for (int k = 0; k < trips_.count; ++k) trips_.trip[k] = kUnbounded;
  }

  // Evaluates nodes up to and including `id`.
  void EvaluateUpTo(ExprId id) {
    // Nodes that asked for a trip count before it was known get a second chance.
    if (missed_trips_) next_ = 0;
    missed_trips_ = false;
    for (; next_ <= id; ++next_) {
      forms_[next_] = EvaluateNode(next_);
      missed_trips_ |= forms_[next_].status == FormStatus::kUnknownTrips;
    }
  }

  const AffineForm& form(ExprId id) const { return forms_[id]; }
  TripCounts& trips() { return trips_; }

  // From now on for the passes phase, phase + phases, ... of `iterations`.
  void BeginPhase(int64_t iterations, int phase, int phases) {
    phase_ = phase;
    phases_ = phases;
    trips_.trip[0] = (iterations - phase + phases - 1) / phases;
    for (int k = 1; k < trips_.count; ++k) trips_.trip[k] = kUnbounded;
    next_ = 0;
    missed_trips_ = false;
  }

  // How many phases make remainders by small powers of two exact that were evaluated so far.
  int WantedPhases() const { return wanted_phases_; }

  // How often the loop's header is reached, at most, or kUnbounded.
  int64_t TripCountOf(const LoopDim& loop) {
    const int64_t taken = LargestOf(loop.backedge_taken);
    if (taken != kUnbounded) return taken + 1;
    const int64_t trips = LargestOf(loop.trips);
    return trips == kUnbounded ? kUnbounded : std::max<int64_t>(trips, 1);
  }

  // How often its body runs.
  int64_t BodyTripsOf(const LoopDim& loop) {
    const int64_t trips = TripCountOf(loop);
    return loop.body_only && trips > 1 && trips != kUnbounded ? trips - 1 : trips;
  }

 private:
  // As an unsigned number of its width.
  int64_t LargestOf(ExprId count) {
    if (count == kNoExpr) return kUnbounded;
    EvaluateUpTo(count);
    Wide shift = 0;
    const Interval values = IntoUnsigned(IntervalOf(forms_[count], trips_), program_.nodes[count].width, &shift);
    return values.ok() && values.high < kMaxTrip ? static_cast<int64_t>(values.high) : kUnbounded;
  }

  // Operands must be earlier nodes at least as wide as what is taken of them.
  bool HasOperand(ExprId id, ExprId user, int width) const {
    return id >= 0 && id < user && program_.nodes[id].width >= width;
  }

  int64_t SlotValueOf(int64_t byte, int width) const {
    const auto slot = static_cast<size_t>(byte / kSlotBytes), offset = static_cast<size_t>(byte % kSlotBytes);
    uint64_t value = 0;
    std::memcpy(&value, state_.slot[slot].bytes.data() + offset, std::min(sizeof value, kSlotBytes - offset));
    return Reduce(value, width);
  }

  AffineForm Extended(const AffineForm& a, const ExprNode& node) {
    const AffineForm extended = Extend(a, node.from, node.width, node.op == ExprOp::kSext, trips_);
    if (!extended.ok() || extended.stride[0] != 0) return extended;
    const int64_t period =
        PeriodOf(a, node.from);  // 1 where a does not move with the passes, else they only left a remainder
    if (period <= kMaxPhases) wanted_phases_ = std::max(wanted_phases_, static_cast<int>(period));
    return extended;
  }

  AffineForm EvaluateNode(ExprId id) {
    const ExprNode& node = program_.nodes[id];
    const AffineForm malformed = AffineForm::Failed(FormStatus::kNotAffine);
    if (node.width < 1 || node.width > 64) return malformed;
    const int width = node.width;
    switch (node.op) {
      case ExprOp::kConst:
        return {.c = Reduce(static_cast<uint64_t>(node.imm), width)};
      case ExprOp::kGpr:
        if (node.imm < 0 || node.imm >= kGprCount) return malformed;
        return {.c = Reduce(state_.gpr[static_cast<size_t>(node.imm)], width)};
      case ExprOp::kFsBase:
        return {.c = Reduce(state_.fs_base, width)};
      case ExprOp::kSlot:
        if (node.imm < 0 || node.imm >= kMaxSlots * kSlotBytes) return malformed;
        return {.c = SlotValueOf(node.imm, width)};
      case ExprOp::kIv: {
        if (node.imm < 0 || node.imm >= trips_.count) return malformed;
        AffineForm form;
        form.stride[node.imm] = Reduce(node.imm == 0 ? static_cast<uint64_t>(phases_) : 1, width);
        if (node.imm == 0) form.c = Reduce(static_cast<uint64_t>(phase_), width);
        return form;
      }
      case ExprOp::kAny:
        return AnyValue(width);
      case ExprOp::kModule:
        if (node.imm < 0 || node.imm >= kMaxModules) return malformed;
        return {.c = Reduce(state_.module_base[static_cast<size_t>(node.imm)], width)};
      case ExprOp::kZext:
      case ExprOp::kSext:
        if (node.from < 1 || node.from > width || !HasOperand(node.a, id, node.from)) return malformed;
        return Extended(forms_[node.a], node);
      case ExprOp::kTrunc:
        if (!HasOperand(node.a, id, width)) return malformed;
        return Truncate(forms_[node.a], width, trips_);
      default:
        break;
    }
    if (!HasOperand(node.a, id, width) || !HasOperand(node.b, id, width)) return malformed;
    const AffineForm& a = forms_[node.a];
    const AffineForm& b = forms_[node.b];
    switch (node.op) {
      case ExprOp::kAdd:
        return Add(a, b, width, trips_);
      case ExprOp::kMul:
        return Multiply(a, b, width, trips_);
      case ExprOp::kSMax:
        return Maximum(a, b, width, true, trips_);
      case ExprOp::kSMin:
        return Minimum(a, b, width, true, trips_);
      case ExprOp::kUMax:
        return Maximum(a, b, width, false, trips_);
      case ExprOp::kUMin:
        return Minimum(a, b, width, false, trips_);
      case ExprOp::kUDiv:
        return UnsignedDivide(a, b, width, trips_);
      case ExprOp::kExactDiv:
        return ExactDivide(a, b, width, trips_);
      case ExprOp::kURem:
        return Remainder(a, b, width, false, trips_);
      case ExprOp::kSRem:
        return Remainder(a, b, width, true, trips_);
      default:
        return malformed;
    }
  }

  const FootprintProgram& program_;
  const MachineState& state_;
  AffineForm* forms_;
  TripCounts trips_;
  int phase_ = 0, phases_ = 1;
  int wanted_phases_ = 1;
  ExprId next_ = 0;
  bool missed_trips_ = false;
};

bool IsWellFormed(const FootprintProgram& program, RejectionReason* reason) {
  *reason = RejectionReason::kTooManyAccesses;
  if (program.nodes.size() > kMaxNodes || program.accesses.size() > kMaxAccesses) return false;
  if (program.windows.size() > static_cast<size_t>(kMaxWindows)) return false;
  *reason = RejectionReason::kTooManySlots;
  if (program.slots.size() > static_cast<size_t>(kMaxSlots)) return false;
  *reason = RejectionReason::kLoopsTooDeep;
  if (program.loops.empty() || program.loops.size() > static_cast<size_t>(kMaxLoops)) return false;
  *reason = RejectionReason::kUnknownTripCount;
  for (const LoopDim& loop : program.loops) {
    for (const ExprId id : {loop.backedge_taken, loop.trips}) {
      if (id < kNoExpr || id >= static_cast<ExprId>(program.nodes.size())) return false;
    }
  }
  *reason = RejectionReason::kIndirectAddress;
  for (const Access& access : program.accesses) {
    if (access.address < kNoExpr || access.address >= static_cast<ExprId>(program.nodes.size())) return false;
  }
  for (const WindowBase& window : program.windows) {
    if (window.base < 0 || window.base >= static_cast<ExprId>(program.nodes.size())) return false;
  }
  return true;
}

std::unexpected<FootprintFailure> Fail(RejectionReason reason, uint64_t instruction = 0) {
  return std::unexpected(FootprintFailure{reason, instruction});
}

bool Place(Interval interval, uint32_t bytes, AffineForm form, AccessForm* out) {
  Wide shift = 0;
  interval = IntoUnsigned(interval, 64, &shift);
  if (!interval.ok() || interval.high + bytes > kAddressEnd) return false;
  out->base = static_cast<uint64_t>(form.c + shift);
  for (int k = 0; k < kMaxLoops; ++k) out->stride[static_cast<size_t>(k)] = form.stride[k];
  out->slack = form.slack;
  out->bytes = bytes;
  out->low = static_cast<uint64_t>(interval.low);
  out->high = static_cast<uint64_t>(interval.high) + bytes;
  return true;
}

// Adds the accesses of the passes of one phase.
std::expected<void, FootprintFailure> EvaluatePhase(const FootprintProgram& program, Evaluator& evaluator,
                                                    int64_t iterations, int phase, int phases, Footprint* out) {
  evaluator.BeginPhase(iterations, phase, phases);
  // Trip counts, outer loops first: those of inner loops may depend on the counters of outer ones.
  TripCounts& trips = evaluator.trips();
  for (int k = 1; k < trips.count; ++k) {
    const LoopDim& loop = program.loops[static_cast<size_t>(k)];
    trips.trip[k] = evaluator.BodyTripsOf(loop);
    if (loop.must_divide && trips.trip[k] == kUnbounded) return Fail(RejectionReason::kUnknownTripCount);
  }
  if (phase == 0) {
    out->loop_count = trips.count;
    out->phases = phases;
    out->form_count = 0;
    for (int64_t& trip : out->trip) trip = 1;
    out->trip[0] = iterations;
  }
  for (int k = 0; k < trips.count; ++k) out->phase_trip[phase][k] = trips.trip[k];
  for (int k = 1; k < trips.count; ++k) out->trip[k] = std::max(out->trip[k], trips.trip[k]);

  evaluator.EvaluateUpTo(static_cast<ExprId>(program.nodes.size()) - 1);
  for (size_t i = 0; i < program.accesses.size(); ++i) {
    const Access& access = program.accesses[i];
    if (access.address == kNoExpr) return Fail(RejectionReason::kIndirectAddress, access.instruction);
    const AffineForm& form = evaluator.form(access.address);
    const Interval interval = IntervalOf(form, trips);
    if (!interval.ok()) return Fail(Reason(interval.status), access.instruction);
    AccessForm& placed = out->forms[out->form_count++];
    if (!Place(interval, access.bytes, form, &placed)) {
      return Fail(RejectionReason::kUnmappedMemory, access.instruction);
    }
    placed.write = access.write;
    placed.float_bits = access.float_bits;
    placed.access = static_cast<uint16_t>(i);
    placed.phase = static_cast<uint8_t>(phase);
  }
  return {};
}

// The same in all passes, so evaluated for all at once.
std::expected<void, FootprintFailure> PlaceWindows(const FootprintProgram& program, Evaluator& evaluator,
                                                   Footprint* out) {
  evaluator.EvaluateUpTo(static_cast<ExprId>(program.nodes.size()) - 1);
  out->window_count = 0;
  for (const WindowBase& window : program.windows) {
    const AffineForm& base = evaluator.form(window.base);
    if (!base.ok() || !IsConstant(base, evaluator.trips().count))
      return Fail(RejectionReason::kIndirectAddress, window.instruction);
    out->window_base[out->window_count++] = static_cast<uint64_t>(base.c);
  }
  return {};
}

// As many as are wanted, have a pass each, and fit into a footprint.
int PhasesFor(const FootprintProgram& program, int wanted, int64_t iterations) {
  while (wanted > 1 && (wanted > iterations || program.accesses.size() * static_cast<size_t>(wanted) > kMaxAccesses))
    wanted /= 2;
  return wanted;
}

}  // namespace

std::expected<int64_t, FootprintFailure> EvaluateTripCount(const FootprintProgram& program, const MachineState& state) {
  RejectionReason reason{};
  if (!IsWellFormed(program, &reason)) return Fail(reason);
  const ExprId id = program.loops[0].backedge_taken;
  if (id == kNoExpr) return Fail(RejectionReason::kUnknownTripCount);
  auto* forms = static_cast<AffineForm*>(
      __builtin_alloca_with_align(sizeof(AffineForm) * (static_cast<size_t>(id) + 1), 8 * alignof(AffineForm)));
  Evaluator evaluator(program, state, forms);
  evaluator.EvaluateUpTo(id);
  // Exact, not an upper bound: a form that depends on a loop counter or is a mere interval does not serve.
  if (!forms[id].ok() || !IsConstant(forms[id], evaluator.trips().count))
    return Fail(RejectionReason::kUnknownTripCount);
  const int64_t trip = evaluator.TripCountOf(program.loops[0]);
  if (trip == kUnbounded) return Fail(RejectionReason::kUnknownTripCount);
  return trip - 1;
}

bool TripsIn(int64_t pass, const FootprintProgram& program, const MachineState& state, int capped, int64_t cap, int64_t* trips) {
  RejectionReason reason{};
  if (!IsWellFormed(program, &reason) || pass < 0 || pass >= INT32_MAX) return false;
  auto* forms = static_cast<AffineForm*>(
      __builtin_alloca_with_align(sizeof(AffineForm) * (program.nodes.size() + 1), 8 * alignof(AffineForm)));
  Evaluator evaluator(program, state, forms);
  evaluator.BeginPhase(pass + 1, static_cast<int>(pass), static_cast<int>(pass + 1));  // a phase with one pass
  TripCounts& counts = evaluator.trips();
  std::fill_n(trips, kMaxLoops, 1);
  for (int k = 1; k < counts.count; ++k) {
    const int64_t trip = evaluator.BodyTripsOf(program.loops[static_cast<size_t>(k)]);
    if (trip == kUnbounded) return false;
    counts.trip[k] = trips[k] = k == capped ? std::min(trip, cap) : trip;
  }
  return true;
}

double IterationsPerPass(const FootprintProgram& program, const MachineState& state, int64_t iterations) {
  RejectionReason reason{};
  if (!IsWellFormed(program, &reason) || iterations < 1 || iterations > kMaxTrip) return 1;
  auto* forms = static_cast<AffineForm*>(
      __builtin_alloca_with_align(sizeof(AffineForm) * (program.nodes.size() + 1), 8 * alignof(AffineForm)));
  Evaluator evaluator(program, state, forms);
  TripCounts& trips = evaluator.trips();
  trips.trip[0] = iterations;
  double total = 1, of[kMaxLoops] = {1};
  for (int k = 1; k < trips.count; ++k) {
    const LoopDim& loop = program.loops[static_cast<size_t>(k)];
    trips.trip[k] = evaluator.TripCountOf(loop);
    of[k] = of[loop.parent] * (trips.trip[k] == kUnbounded ? 1.0 : static_cast<double>(trips.trip[k]));
    total += of[k];
  }
  return total;
}

std::expected<void, FootprintFailure> Evaluate(const FootprintProgram& program, const MachineState& state,
                                               int64_t iterations, Footprint* out) {
  RejectionReason reason{};
  if (!IsWellFormed(program, &reason)) return Fail(reason);
  if (iterations < 1 || iterations > kMaxTrip) return Fail(RejectionReason::kUnknownTripCount);
  auto* forms = static_cast<AffineForm*>(
      __builtin_alloca_with_align(sizeof(AffineForm) * (program.nodes.size() + 1), 8 * alignof(AffineForm)));
  Evaluator evaluator(program, state, forms);
  const auto in_one_phase = EvaluatePhase(program, evaluator, iterations, 0, 1, out);
  const int phases = PhasesFor(program, evaluator.WantedPhases(), iterations);
  if (phases == 1 && !in_one_phase) return in_one_phase;
  if (const auto placed = PlaceWindows(program, evaluator, out); !placed) return placed;
  for (int phase = 0; phase < phases && phases > 1; ++phase) {
    if (const auto done = EvaluatePhase(program, evaluator, iterations, phase, phases, out); !done) return done;
  }

  const TripCounts& trips = evaluator.trips();
  for (size_t i = 0; i < program.slots.size(); ++i) {
    const Slot& slot = program.slots[i];
    if (slot.base >= kGprCount || slot.through >= static_cast<int>(i)) return Fail(RejectionReason::kIndirectAddress, slot.instruction);
    const AffineForm form{.c = static_cast<int64_t>(AddressOf(slot, state))};
    AccessForm& placed = out->forms[out->form_count++];
    if (!Place(IntervalOf(form, trips), slot.bytes, form, &placed)) {
      return Fail(RejectionReason::kUnmappedMemory, slot.instruction);
    }
    placed.write = slot.written;
    placed.phase = 0;
    placed.access = static_cast<uint16_t>(kSlotBase + i);
  }
  return {};
}

}  // namespace tracelift::jit

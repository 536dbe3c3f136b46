// Footprints: which bytes one execution of a region reads and writes, as numbers.
//
// A FootprintProgram is compiled once per artifact: expressions over the registers and slots at entry and over the
// loop counters. Evaluate() turns it, with the registers of one entry, into a Footprint: every access as
//   address = base + sum over loops (stride[k] * i[k]) + [0, slack],  0 <= i[k] < trip[k],  `bytes` wide.
// Where addresses depend on the remainder of the pass by a small power of two (rows whose first column alternates), no
// one such form is exact. The passes are then dealt out to *phases*, by that remainder, and each phase has forms of its
// own. The same value answers: is it mapped, what must be transferred, what flows between regions, what to compare when
// verifying, and (CheckIndependent) whether iterations of the outer loop can run in any order.
//
// Rule: Evaluate and CheckIndependent run on the program's own thread in the middle of its code: they never allocate,
// lock, throw or call into libc beyond memcpy. All arithmetic is checked in 128 bits; anything that could wrap is a
// failure with a reason, never a guess.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <vector>

#include "jit/machine_state.h"
#include "jit/rejection.h"
#include "jit/slot.h"

namespace tracelift::jit {

inline constexpr int kMaxLoops = 6;       // loops of a nest that carry strides; loop 0 is the region's own loop
inline constexpr int kMaxAccesses = 128;
inline constexpr int kMaxPhases = 8;

enum class ExprOp : uint8_t {
  kConst,   // imm (signed)
  kGpr,     // register number imm at entry, 64 bits, signed
  kSlot,    // `width` bits from byte imm of all slots, laid out kSlotBytes apart, signed
  kFsBase,  // the base of fs at entry, 64 bits
  kIv,      // iteration number of loop imm, counted from 0
  kAny,     // nobody knows: any value of `width` bits, at most 16
  kModule,  // where module imm begins (jit/module_bases.h)
  kAdd,
  kMul,
  kSMax,
  kSMin,
  kUMax,
  kUMin,
  kUDiv,
  kExactDiv,  // a / b as unsigned numbers, where the program relies on b dividing a: fails when it does not
  kURem,      // what a / b leaves, of unsigned numbers
  kSRem,      // the same of signed ones, with the sign of a
  kZext,      // a (of width `from`) zero-extended to `width`
  kSext,
  kTrunc,
};

using ExprId = int32_t;
inline constexpr ExprId kNoExpr = -1;

/// Operands come before their users. `width` is the width in bits of the result (the mathematical value is meant
/// modulo 2^width; the evaluator keeps it exact and fails where it cannot).
struct ExprNode {
  ExprOp op{};
  uint8_t width = 64;
  uint8_t from = 64;  // kZext, kSext, kTrunc: width of the operand
  ExprId a = kNoExpr, b = kNoExpr;
  int64_t imm = 0;
};

struct LoopDim {
  int parent = -1;                // enclosing dimension, -1 for loop 0
  ExprId backedge_taken = kNoExpr;  // times the header is reached again; kNoExpr: not known before it runs
  ExprId trips = kNoExpr;           // times its body runs, 0 where it is passed by; where the count before that has no value
  bool body_only = false;           // the last time, the header leaves the loop before any access
  bool must_divide = false;         // compiled code relies on backedge_taken: an entry where it fails is declined
};

struct Access {
  ExprId address = kNoExpr;
  uint32_t bytes = 0;
  bool write = false;
  bool always_safe = false;       // reserved for accesses known to be valid whenever the region is entered
  int innermost_loop = 0;         // dimension that contains it
  uint8_t float_bits = 0;         // a write of floats of so many bits; 0: of something else
  uint64_t instruction = 0;       // for messages
};

/// Reads at addresses that only data decide: `base` and some distance. They are no accesses: the code that makes them checks
/// that they stay in a window, memory around the base that is readable and that nothing in the footprint writes.
struct WindowBase {
  ExprId base = kNoExpr;     // the same in all iterations
  uint32_t bytes = 0;        // of the widest of its reads
  uint64_t instruction = 0;  // the first of its reads, for messages
};

struct FootprintProgram {
  std::vector<ExprNode> nodes;
  std::vector<LoopDim> loops;     // parents before children
  std::vector<Access> accesses;
  std::vector<Slot> slots;
  std::vector<WindowBase> windows;  // at most kMaxWindows
};

/// Parse(Print(p)) == p; one line per node, for tests and `explain`.
std::string Print(const FootprintProgram& program);

struct AccessForm {
  uint64_t base = 0;                               // lowest address when all i are 0 and slack is 0
  std::array<int64_t, kMaxLoops> stride{};         // bytes per iteration of loop k
  uint64_t slack = 0;                              // uncertainty: the address may be up to `slack` higher
  uint32_t bytes = 0;
  bool write = false;
  uint8_t float_bits = 0;                          // see Access
  uint64_t low = 0, high = 0;                      // all bytes lie in [low, high)
  uint16_t access = 0;                             // index in FootprintProgram::accesses, or kSlotBase + slot
  uint8_t phase = 0;                               // of the passes that make it
};
inline constexpr uint16_t kSlotBase = 0x8000;

struct Footprint {
  int loop_count = 0;
  int form_count = 0;
  int phases = 1;  // i[0] of phase r counts the passes r, r + phases, r + 2 * phases, ...
  int64_t trip[kMaxLoops] = {};                    // body executions of loop k per entry, upper bound for inner loops
  int64_t phase_trip[kMaxPhases][kMaxLoops] = {};  // the same in the passes of one phase, when there are several
  AccessForm forms[kMaxAccesses + kMaxSlots];      // accesses first, then slots (stride 0, in phase 0, of all passes)
  int window_count = 0;
  uint64_t window_base[kMaxWindows] = {};          // by index of FootprintProgram::windows
  std::span<const AccessForm> all() const { return {forms, static_cast<size_t>(form_count)}; }
  /// Body executions of loop k in the passes that make the access; of loop 0, how many passes these are.
  int64_t TripOf(const AccessForm& form, int k) const { return phases == 1 ? trip[k] : phase_trip[form.phase][k]; }
};

struct FootprintFailure {
  RejectionReason reason{};
  uint64_t instruction = 0;  // where, 0 when the loop itself
};

/// Number of times the region's header will be reached again from `state` (its backedge-taken count); an error when
/// it is not computable or would wrap.
std::expected<int64_t, FootprintFailure> EvaluateTripCount(const FootprintProgram& program, const MachineState& state);

/// How many iterations of all loops one of `iterations` passes makes, at most: what passes cost in different entries
/// differs about as much. Loops of which nothing is known at entry count once; 1 when nothing can be told.
double IterationsPerPass(const FootprintProgram& program, const MachineState& state, int64_t iterations);

/// The footprint of `iterations` passes of loop 0 (>= 1) from `state`. `out` is caller-provided (large).
std::expected<void, FootprintFailure> Evaluate(const FootprintProgram& program, const MachineState& state,
                                               int64_t iterations, Footprint* out);

enum class Independence : uint8_t {
  kIndependent,  // no byte written by one iteration of loop 0 is read or written by another
  kDependent,    // such a byte exists
  kUnknown,      // not decided within the work limit: treat as dependent
};
struct IndependenceResult {
  Independence verdict = Independence::kUnknown;
  uint16_t first = 0, second = 0;  // accesses that conflict
};
/// Decides exactly (bounded search over the affine forms, see footprint_conflict.cc) whether iterations of loop 0 are
/// independent. A slot that is written never conflicts with itself (it is private to each iteration or an affine
/// counter), but does with any access that overlaps it.
IndependenceResult CheckIndependent(const Footprint& footprint);

/// Where in its pass an access is made, beside the one inner loop.
enum AccessPlace : uint8_t {
  kAheadOfInner = 1,
  kWithinInner = 2,
  kBehindInner = 4,
  kNeededWithin = 8,  // ahead of the loop, which needs what it reads
};

/// What each pass reads in each iteration of the inner loop is what the pass before it wrote, so many steps before.
struct HandedOn {
  uint8_t read = 0, written = 0;                // accesses,
  uint32_t read_offset = 0, written_offset = 0;  // of which these bytes,
  uint32_t bytes = 0;                           // so many
  int32_t steps = 0;                            // at least 1
};

/// Groups of passes run side by side, each pass so many iterations of the inner loop behind the one before it.
struct Wavefront {
  int lanes = 0;                // passes in a group; 0: no wavefront
  int skew = 0;                 // iterations
  int loop = -1;                // the inner loop
  std::vector<uint8_t> places;  // by access: AccessPlace, or several of them
  std::vector<HandedOn> handed_on;
  // In each iteration of the inner loop all reads come before all writes: of what passes do in it in the same step, what
  // one reads still comes before what a later one writes.
  bool reads_first = false;
};

/// Leading iterations of an inner loop, which many passes do side by side; what is left of these follows in order.
struct Lead {
  int loop = -1;                // the inner loop; -1: passes have no lead
  std::vector<uint8_t> places;  // by access: AccessPlace, or several of them
};

/// What compiled code relies on beside independent passes; checked for every slice.
struct Reliance {
  /// By access: accesses in different memories share no byte that either of them writes. Empty: not relied on.
  std::vector<uint8_t> memory;
  /// By loop: iterations of the loop are independent of each other within one iteration of each of the loops around it.
  std::vector<bool> widened;
  /// By loop: loops of the same length that contain all writes; within one pass, no iteration of one of them touches what
  /// another writes, and nothing outside them does. Empty: not relied on.
  std::vector<bool> panels;
  /// By dimension of a grid, then by loop: loops that contain all writes; what holds for panels holds for these loops, which need not
  /// be of one length.
  std::vector<std::vector<bool>> grid;
  /// Passes run in order, not side by side: what holds for panels within a pass holds across passes too.
  bool ordered = false;
  /// What passes need of each other they read before it is written: no pass touches what an earlier one has written.
  bool reads_first = false;
  /// Accesses that meet, of passes in one group, are made in the order in which passes one by one would make them.
  Wavefront wavefront;
  /// Of each slice, so many iterations as LeadOf says are done first.
  Lead lead;
};
/// Slots are not looked at: what carries one from iteration to iteration is visible in the loop's code.
IndependenceResult CheckReliance(const FootprintProgram& program, const Footprint& footprint, const Reliance& reliance);

/// The wavefront's part of it.
IndependenceResult CheckWavefront(const FootprintProgram& program, const Footprint& footprint, const Wavefront& wavefront);

/// How many leading iterations of the loop the passes may do side by side ahead of what else they do. Looked at are the last
/// `passes` ones of `footprint`, which is that of `state`; the loop makes `length` iterations in the first of these, no fewer in
/// those behind it, and fewer than `length` lead.
int64_t LeadOf(const FootprintProgram& program, const MachineState& state, const Footprint& footprint, int64_t passes,
               const Lead& lead, int64_t length);

/// How often the body of each loop runs, at most, in one pass, in which loop `capped` makes no more than `cap` iterations (to trips[0]
/// up to trips[kMaxLoops - 1]). False when that is not known of some loop.
bool TripsIn(int64_t pass, const FootprintProgram& program, const MachineState& state, int capped, int64_t cap, int64_t* trips);

/// Whether the same value is there, in whatever order passes run that keeps to CheckWavefront.
bool IsHandedOn(const FootprintProgram& program, const Footprint& footprint, const Wavefront& wavefront,
                const HandedOn& handed);

/// Whether no access meets a slot that is written, and no write a slot: what passes that run in order must keep to, too.
IndependenceResult CheckSlots(const Footprint& footprint);

/// The memories of a program as one footprint of it shows them: what meets a write is in the write's memory.
std::vector<uint8_t> MemoriesOf(const FootprintProgram& program, const Footprint& footprint);

/// Which accesses' bytes, from the lowest to the highest, lie apart from all others': numbers that only accesses have in common whose
/// bytes so meet.
std::vector<uint8_t> RangesApart(const FootprintProgram& program, const Footprint& footprint);

/// The largest power of two, at most 16, that all addresses of the access are multiples of.
uint8_t AlignmentOf(const Footprint& footprint, const AccessForm& form);

/// Cuts what the footprint writes off `window`, readable memory around `base`: what is left around it. Empty when `base` itself
/// is written.
ReadWindow UnwrittenAround(uint64_t base, ReadWindow window, const Footprint& footprint);

/// True when some byte is both read and written: running the region twice is then not the same as once.
bool ReadsWhatItWrites(const Footprint& footprint);

/// True when no two of the writes, in all iterations of one pass, meet in a byte: what was there can be put back in any order.
bool WritesOnce(const FootprintProgram& program, const Footprint& footprint, std::span<const uint16_t> accesses);

struct ByteRange {
  uint64_t begin = 0, end = 0;
  bool write = false;
};
/// Merges the forms into at most out.size() ascending ranges that cover them (writes and reads apart: a byte both
/// read and written appears in a write range). Returns how many were used; neighbours are joined when out is full.
size_t CollectRanges(const Footprint& footprint, std::span<ByteRange> out);

}  // namespace tracelift::jit

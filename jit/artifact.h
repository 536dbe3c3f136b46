// A region compiled for a place: a value that can be cached, sent, or loaded in another process.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "jit/float_environment.h"
#include "jit/footprint.h"
#include "jit/kernel.h"
#include "jit/machine_state.h"
#include "jit/reduction.h"

namespace tracelift::jit {

/// The artifact was specialised on the value of one place: entries with another value must not use it.
struct Guard {
  int8_t gpr = -1;    // the place: this register, or
  int16_t slot = -1;  // this slot, its lowest 8 bytes
  uint64_t value = 0;
  constexpr bool operator==(const Guard&) const = default;
};

struct CompileTimes {
  uint64_t lift_ns = 0;
  uint64_t analyse_ns = 0;
  uint64_t optimise_ns = 0;
  uint64_t emit_ns = 0;
  uint64_t total_ns() const { return lift_ns + analyse_ns + optimise_ns + emit_ns; }
};

inline constexpr size_t kMaxReductions = 128;
inline constexpr size_t kMaxLogged = 16;

/// What chunks tell beside the state and what they write; and which share of each pass they are to do.
struct ChunkResult {
  uint32_t flags = 0;                              // kFlag*
  uint32_t part = 0, parts = 1;                    // Artifact::parts
  std::byte* scratch = nullptr;                    // memory that it may use meanwhile, for 64-byte vectors,
  uint64_t scratch_bytes = 0;                      // of so many bytes; it may be none
  std::byte* log = nullptr;                        // Artifact::logged: where the chunk keeps what it overwrites,
  const int64_t* log_layout = nullptr;             // offload/host/undo_log.h,
  int64_t log_first = 0;                           // from this pass on
  int64_t lead = 0;                                // iterations of the loop of Reliance::lead that come first in each pass,
  uint32_t leads = 0;                              // 1: do these, of whole groups of passes; 0: do the rest
  uint32_t undoes = 0;                             // 1: put back what the log has of these passes, and do nothing else
  std::array<uint64_t, kMaxReductions> partial{};  // by index of Artifact::reductions
};
static_assert(offsetof(ChunkResult, flags) == 0);

/// Runs `count` consecutive passes of the region's loop from its header, starting `first` passes after the state
/// `in`; never leaves the loop. Writes the state at the header after them to `out` unless null, without what depends on
/// reductions; combines what its passes reduce with result->partial. Ors kFlag* into result->flags. Many threads may run it
/// at once with the same `in`. A call with count 0 only writes to `out`: what depends on reductions, from `in` and from
/// what all chunks before `first` left in result->partial, and all other state if Artifact::can_seek. Of an artifact with
/// parts, it does the share result->part of result->parts of its passes' work. One with logged writes keeps what they
/// overwrite in result->log; with result->undoes it puts that back, if no byte was written twice in a pass. With result->lead, which must leave something of
/// each pass, it does that part of its passes or what is left behind it.
using ChunkFunction = void (*)(const MachineState* in, MachineState* out, int64_t first, int64_t count,
                               ChunkResult* result);
inline constexpr uint32_t kFlagNaN = 1;          // a NaN was produced or consumed: redo in the original code
inline constexpr uint32_t kFlagDetour = 4;       // control went to code that is not lifted: redo in the original code
inline constexpr uint32_t kFlagStale = 8;        // `out` has a value that only an earlier chunk set: redo in the original
inline constexpr uint32_t kFlagUnlike = 16;      // values at entry are not related as compiled for: nothing was done
inline constexpr uint32_t kFlagLeft = 32;        // a pass left the loop, which writes nothing: the original does the chunk
inline constexpr uint32_t kFlagStrayed = 64;     // a read would have left the memory meant for it: redo in the original code
inline constexpr uint32_t kFlagDivideFault = 2;  // a division would have faulted: redo in the original code

inline constexpr uint8_t kNotComparable = 255;

struct Artifact {
  std::string target_cpu;             // LLVM name, e.g. "znver4"
  std::string target_features;
  std::vector<uint8_t> object;        // relocatable ELF object
  std::string symbol;                 // of the ChunkFunction
  FootprintProgram footprint;
  std::vector<Guard> guards;
  std::optional<FloatControl> float_control;  // runs under this one only; none: under any, it does not compute with floats
  RegisterSet live_at_header;         // registers the original needs when it is resumed at the header
  RegisterSet comparable_at_header;   // of those, what is the same after passes run elsewhere as after the original's
  RegisterSet written;                // registers the chunk function may change in `out`
  int group = 1;                      // the chunk function runs so many passes side by side,
  int batch = 1;                      // and is fastest for multiples of so many
  int vector_bits = 0;                // of the widest vectors it computes with; 0: none
  int lanes = 0;                      // iterations of one loop that vectors run side by side; 0: none
  int panel = 0;                      // iterations of inner loops that a batch does before it goes on to the next; 0: all
  int packed = 0;                     // reads that a batch makes from a copy of what it reads over and over
  // 0: passes must be independent; 1: passes that are not run in order, in one chunk; more: so many chunks share each pass
  int parts = 0;
  Reliance reliance;                  // entries where it does not hold must not use it
  bool plain = false;                 // CompileOptions::plain
  bool relaxed = false;               // CompileOptions::relaxed, and it computes with floats: these may come out as others,
  std::vector<std::string> relaxations;  // by these means, in words
  std::vector<uint8_t> float_slots;   // by slot: it holds sums of floats of so many bits, or floats that are kNotComparable; 0: other bytes
  uint32_t may_flag = 0;              // kFlag* it can set: keep what is needed to redo
  std::vector<uint16_t> logged;       // writes (FootprintProgram::accesses) before which the chunk keeps what was there
  bool can_seek = false;              // called with count 0 it writes all of the state after `first` passes to `out`
  std::vector<Reduction> reductions;  // that chunks do parts of
  std::optional<Kernel> kernel;       // the same passes for a device; the chunk function does what it cannot
  /// Passes side by side leave no state at their end and nothing else tells it: a single pass behind them does.
  bool NeedsSinglePass() const { return !can_seek && group > 1 && lanes > 0 && parts == 0; }
  /// A search: where a chunk ends with kFlagLeft, the state ahead of it is known, and all chunks before stand.
  bool FindsItsEnd() const { return (may_flag & kFlagLeft) != 0 && can_seek && reductions.empty(); }
  uint64_t header = 0;
  std::array<uint64_t, kMaxModules> module_bases{};  // of the state at entry: what the code counts addresses from
  int64_t pass_stack = 0;             // bytes below the program's rsp that belong to the pass alone
  std::string ir;                     // optimised LLVM IR when asked for, else empty
  CompileTimes times;
};

/// The original can do single chunks again, and nothing but a NaN sends them there.
inline bool IsRedoneByChunk(const Artifact& artifact) {
  constexpr uint32_t kRedoable = kFlagNaN | kFlagUnlike;
  return (artifact.may_flag & ~kRedoable) == 0 && artifact.parts == 0 && artifact.reductions.empty();
}

}  // namespace tracelift::jit

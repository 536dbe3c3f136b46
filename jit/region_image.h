// The near executable memory of one region: entry stub, displaced instruction, ways back, and a native clone.
//
// To take over a loop, one instruction of it (the patch site) becomes a jump to the region's entry stub. The stub
// saves the whole register file into a SavedContext on the program's stack (below the red zone) and calls the
// dispatch function, which says where to go on; everything is restored bit for bit. The native clone is a relocated
// copy of the loop's own machine code whose exits come back to us: it runs any number of passes of the original,
// on the real CPU, to measure it, to verify variants against it, and to get from the patch site to the header.
#pragma once

#include <cstdint>
#include <cstring>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "jit/function_code.h"
#include "jit/machine_state.h"
#include "jit/rejection.h"

namespace tracelift::jit {

/// Written by the entry stub; offsets are known to the assembly (region_entry.S).
struct SavedContext {
  uint64_t gpr[kGprCount];
  uint64_t rflags;
  uint8_t* xsave;       // XSAVE area (standard format), 64-byte aligned: all of XCR0 but PKRU and AMX tiles
};

uint32_t ContextMxcsr(const SavedContext& context);
/// Copies registers, vector registers as wide as the machine has them, to `state`; slots are not touched.
void ReadContext(const SavedContext& context, MachineState* state);
/// Sets MXCSR exception flags (the low six bits), as instructions do that ran elsewhere for this thread.
inline void RaiseMxcsrFlags(uint32_t flags, SavedContext* context) {
  constexpr int kMxcsrOffset = 24;  // in the legacy region of an XSAVE area
  uint32_t mxcsr;
  std::memcpy(&mxcsr, context->xsave + kMxcsrOffset, sizeof(mxcsr));
  mxcsr |= flags & 0x3f;
  std::memcpy(context->xsave + kMxcsrOffset, &mxcsr, sizeof(mxcsr));
}
/// Writes the registers in `which` back.
void WriteContext(const MachineState& state, RegisterSet which, SavedContext* context);

enum class PatchKind : uint8_t {
  kAtomicJump,   // jump written by one aligned 8-byte store: no thread ever sees half of it
  kTrappedJump,  // 5-byte jump across an 8-byte boundary: int3 first, then tail, then head
  kTrap,         // int3 stays: costs a signal per entry
};

/// Where to go on after dispatch. Exits follow: kExit + k leaves to exits()[k].
enum ResumeAt : uint32_t { kDecline = 0, kHeader = 1, kExit = 2 };

/// Called on the program's thread with clean flags and default MXCSR; must not allocate, lock or throw.
using DispatchFunction = uint32_t (*)(void* cookie, SavedContext* context);

/// Memory for code within 1 GiB of program code. Never freed, never reused. Thread rule: one caller at a time.
class NearMemory {
 public:
  NearMemory();
  ~NearMemory();
  /// Whole pages of zeroed, writable memory near `anchor`, or null.
  uint8_t* Allocate(uint64_t anchor, size_t bytes);
  /// The same, anywhere in `window` and however far from other code.
  uint8_t* AllocateWithin(AddressRange window, size_t bytes);
  /// Makes whole pages from `memory` on executable and read-only; false when the kernel refuses.
  static bool Seal(uint8_t* memory, size_t bytes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Where a loop is patched: in it, which also catches whoever is in it already, or ahead of it, where an arrival is an entry
/// and not a pass.
enum class PatchPlace : uint8_t { kInLoop, kAhead };

struct PatchRules {
  bool allow_trap = false;    // SIGTRAP is usable in this process
  bool avoid_faults = false;  // the program handles faults, so its own code must not be moved where it may raise one
};

class RegionImage {
 public:
  /// Chooses the patch site and emits the image.
  static std::expected<std::unique_ptr<RegionImage>, Rejection> Build(const FunctionCode& function, LoopId loop,
                                                                       NearMemory& memory, PatchRules rules,
                                                                       DispatchFunction dispatch, void* cookie,
                                                                       PatchPlace place = PatchPlace::kInLoop);
  ~RegionImage();

  uint64_t patch_site() const;
  std::span<const uint8_t> expected_bytes() const;  // at the site, all that the patch relies on
  std::span<const uint8_t> patch_bytes() const;     // what is written over the first of them
  PatchKind patch_kind() const;
  bool site_is_header() const;
  PatchPlace place() const;
  uint64_t header() const;
  const std::vector<uint64_t>& exits() const;
  uint64_t stub() const;  // where the patch leads to
  AddressRange displaced() const;  // in the stub: the instruction that gave way
  AddressRange code() const;  // stub and native clone

  /// Makes the stub's fast path decline the next `passes` arrivals, of all threads together, without saving anything
  /// (about 5 ns each); 0: none. Any thread may call it. With several threads arriving at once a few more may pass.
  void SkipNext(int64_t passes);
  /// So often was the patch arrived at, by all threads together; with several at once a few may be missing. Any thread.
  uint64_t arrivals() const;

  struct NativeRun {
    bool left = false;        // the loop was left (to exits()[exit]); else paused at the header
    uint32_t exit = 0;
    int64_t passes = 0;       // arrivals at the header during the run; the state at its start is not one
  };
  /// Runs the clone from the patch site until the header is reached (passes is 1) or the loop is left, or not entered (passes
  /// is 0).
  NativeRun RunFromSite(SavedContext* context);
  /// Runs the clone from the header until it was reached `passes` times again, or the loop is left.
  NativeRun RunFromHeader(SavedContext* context, int64_t passes);
  // Both: `context` is the one given to the dispatch function, in its place on the program's stack; the caller holds
  // the region's execution lock, because the return stack pointer is kept in the image. The program's code may fault
  // there and its handler may return: our frames, which the handler overwrites, are put back.

 private:
  RegionImage();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Puts jumps over live code and takes them away again, safe with running threads (see patcher.cc for the protocol).
class Patcher {
 public:
  /// Registers `membarrier` and, when allowed, is told of int3 sites through HandleTrap. One caller at a time.
  static std::expected<std::unique_ptr<Patcher>, std::string> Create();
  ~Patcher();
  /// Both do nothing when it is done already. kCodeNotPatchable when the bytes in place are not those expected, the
  /// code is gone, or the kernel refuses; nothing is changed then.
  std::expected<void, Rejection> Install(const RegionImage& image);
  std::expected<void, Rejection> Remove(const RegionImage& image);
  /// For a SIGTRAP handler: if `rip` follows an int3 of ours, the address to continue at, else 0.
  /// Async-signal-safe. The handler must block all signals: the handler of another could meet an int3 meanwhile.
  uint64_t HandleTrap(uint64_t rip) const;
  /// For handlers of faults: if `rip` is that of an instruction that gave way to a patch, its address in the program, else 0; the
  /// registers are the program's there. Async-signal-safe.
  uint64_t PlaceOf(uint64_t rip) const;
  /// Undoes our changes in a copy of the code at `address`.
  void ShowOriginal(uint64_t address, std::span<uint8_t> code) const;
  /// In a forked child: puts back the original bytes everywhere without locks or allocation.
  void RestoreAll();

 private:
  Patcher();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tracelift::jit

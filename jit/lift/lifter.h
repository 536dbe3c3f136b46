// Lifts one loop from machine code to LLVM IR. Private to jit/.
//
// The function made has the signature
//   i32 NAME(ptr in, ptr out, i64 first, i64 count, ptr flags)
// with in/out pointing to MachineState. Its meaning: from the loop's header and the state `in`, run until the loop is
// left or `count` passes are complete (a pass is complete when the header is reached again), write the state to
// `out`, OR kFlag* bits into *flags, and return k >= 0 when left to LoopFacts::exits[k], or -1 when paused at the
// header. `first` is not used by lifted code; later stages advance affine values by it.
//
// Shape (names are part of the contract; later stages find blocks by them):
//   entry:   allocas for every register, lane, flag and slot used; loads of their start values from `in`; br header
//   header:  first block of the loop
//   b_<hex>: the other blocks
//   next:    the only predecessor of `header` besides entry: counts the pass, br (counter == count), pause, header
//   pause:   stores of the registers in LiftOptions::live_at_pause and of all written slots to `out`; ret -1
//   exit_<k>: stores of all written registers and slots to `out`; ret k
// Every memory access of the program is a load/store through `getelementptr i8, ptr %mem, i64 address` where %mem is
// one opaque pointer equal to null, loaded in the entry block so that LLVM cannot see that it is null. Slots never touch memory; they are allocas.
// Every IR instruction carries a debug location whose line is DecodedFunction::LineOf its machine instruction.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "jit/code/decoded_function.h"
#include "jit/float_environment.h"
#include "jit/module_bases.h"
#include "jit/rejection.h"

namespace llvm {
class Function;
class Module;
class BasicBlock;
}  // namespace llvm

namespace tracelift::jit {

/// A start value known at compile time (from specialisation or read-only memory).
struct KnownValue {
  int8_t gpr = -1;    // register, or
  int16_t slot = -1;  // slot
  uint64_t low = 0, high = 0;  // value; `high` only for 16 bytes
};

struct LiftOptions {
  std::vector<KnownValue> known;
  RegisterSet live_at_pause = RegisterSet::All();
  // General purpose registers whose upper 32 bits are zero at entry. 32-bit counters used in addresses are affine then.
  // The caller must check it at each entry.
  RegisterSet upper_zero = {};
  // General purpose registers that hold these addresses at entry. The caller must check it at each entry.
  std::vector<SameAddress> same = {};
  // The function must only be called under an MXCSR with these control bits. Under others than the default ones it
  // contains float calls (float_calls.h), to be lowered after optimisation.
  FloatControl float_control = kDefaultFloatControl;
  // Floats may be computed in another order, multiplications and additions be fused, and libm's functions be libmvec's: for code
  // of the loop's own file. Others, libm above all, keep their bits: they compute with the errors that rounding makes.
  bool relaxed = false;
  // What lies in these is addressed from where they begin, which is part of the state at entry: the code is then the same
  // wherever they are loaded. Other addresses of the program are constants.
  ModuleBases modules = {};
};

/// Lifts blocks of `facts.loop` into `module`. Rejects with kUnsupportedInstruction (address and disassembly) when an
/// instruction is not on the allow-list, or not under `options.float_control`.
std::expected<llvm::Function*, Rejection> LiftLoop(llvm::Module& module, const DecodedFunction& function,
                                                   const LoopFacts& facts, const LiftOptions& options,
                                                   const std::string& name);

/// True when the instruction is on the allow-list (tested against the real CPU).
bool IsSupported(const Instruction& instruction);

}  // namespace tracelift::jit

// What each pass of a wavefront reads of the row that the pass before it wrote, handed from lane to lane in registers:
// for the lanes but the first there is no read. Private to jit/emit.
//
// The footprint tells which reads these are (IsHandedOn), while instructions are still known by their accesses; they
// are marked then. When passes are staggered, each value written is kept for some steps, and the marked reads become
// calls of a placeholder that the lanes' code (jit/emit/lane_code.h) makes a shuffle of.
#pragma once

#include <llvm/IR/Instructions.h>

#include "jit/emit/seen_footprint.h"

namespace tracelift::jit {

/// Finds what `plan` can hand on and marks it in the code.
std::vector<HandedOn> PlanHandedReads(llvm::Loop& inner, const llvm::BasicBlock& always, const Wavefront& plan,
                                      const SeenFootprint& seen, const std::vector<AccessBy>& accesses_by);

/// How many steps before its value was written, when the read is marked; 0 when it is not.
unsigned StepsHandedOn(const llvm::Instruction& read);

/// The number that a marked write and the reads of what it wrote share; -1 when it is not marked.
int HandedNumber(const llvm::Instruction& access);

/// What the lane before has for `value`, and in the first lane what the read finds in memory; to be put in its place.
llvm::CallInst* FromLaneBefore(llvm::LoadInst& read, llvm::Value* value);

/// Whether it is such a call: of the value and the address.
bool IsFromLaneBefore(const llvm::Value* value);

}  // namespace tracelift::jit

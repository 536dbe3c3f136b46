// A relocated copy of a loop's own machine code that comes back to us.
//
// Branches inside the loop lead to the copy. Each arrival at the header from inside counts a pass and pauses when
// the limit is reached; each edge that leaves the loop ends the run with its exit's index. Counting costs one
// instruction pair in a register that the loop does not use, so that what the copy takes is what the original takes;
// without such a register it is counted in memory, and where the flags are live at the header they are kept.
#pragma once

#include <vector>

#include "jit/code/decoded_function.h"
#include "jit/patch/code_writer.h"
#include "jit/patch/entry_block.h"
#include "jit/patch/patch_site.h"

namespace tracelift::jit {

struct NativeClone {
  uint64_t enter_site = 0;  // tails for tl_native_run
  uint64_t enter_header = 0;
  int counter = -1;  // register that counts passes; -1: EntryBlock::passes_left itself
};

/// A register that no instruction of the loop, or on the way to it, uses, or -1.
int UnusedRegister(const DecodedFunction& function, LoopId loop, const std::vector<ApproachBlock>& approach = {});

/// Writes the copy, and one of the way from a site ahead of the loop to its header. Every instruction must be relocatable; where
/// the way leads elsewhere must be among the exits. Valid once writer->Finish() succeeded.
NativeClone WriteNativeClone(const DecodedFunction& function, const LoopFacts& facts, uint64_t site,
                             const std::vector<ApproachBlock>& approach, const EntryBlock& block, CodeWriter* writer);

}  // namespace tracelift::jit

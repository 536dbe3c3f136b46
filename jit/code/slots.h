// Finds the memory scalars of a loop that can live in registers.
#pragma once

#include <span>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

/// Slots of a loop made of `blocks` whose instructions write `written`, by base and displacement. A memory operand
/// becomes one when its address cannot change (no index; a base that the loop does not write, or none) and every
/// other such operand with the same base covers the same bytes or none of them. At most kMaxSlots: those both read
/// and written are kept first, they hide a carried value; the others stay ordinary accesses.
std::vector<Slot> FindSlots(const DecodedFunction& function, std::span<const int> blocks, RegisterSet written);

}  // namespace tracelift::jit

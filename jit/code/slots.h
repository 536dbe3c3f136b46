// Finds the memory of a loop that can live in registers.
#pragma once

#include <span>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

/// Slots of a loop made of `blocks` whose instructions write `written`, by base and displacement. A memory operand
/// belongs to one when its address cannot change (no index; a base that the loop does not write, or none). Operands with
/// the same base that overlap, directly or through others, share a slot, unless it were longer than kSlotBytes or one of
/// them cannot be part of a slot. At most kMaxSlots: those both read and written are kept first, they hide a carried
/// value; the others stay ordinary accesses.
std::vector<Slot> FindSlots(const DecodedFunction& function, std::span<const int> blocks, RegisterSet written);

/// The first byte of `slot` that an operand in it (SlotIndexOf) reads or writes.
int OffsetInSlot(const Slot& slot, const Instruction& instruction, int operand_index);

}  // namespace tracelift::jit

// Finds the memory of a loop that can live in registers.
#pragma once

#include <span>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

/// Slots of a loop made of `blocks`, of which `facts` has what it clobbers and pushes, by base and displacement. A memory
/// operand belongs to one when its address cannot change (no index; a base that the loop does not write, or that holds an
/// address of such a base there, or none). rsp
/// counts as it is at the header; what a pass has pushed below that is none of the loop's memory. Operands with
/// the same base that overlap, directly or through others, share a slot, unless it were longer than kSlotBytes or one of
/// them cannot be part of a slot. At most kMaxSlots: those both read and written are kept first, they hide a carried
/// value; the others stay ordinary accesses.
std::vector<Slot> FindSlots(const DecodedFunction& function, std::span<const int> blocks, const LoopFacts& facts);

/// The first byte of the slot that an operand in it (SlotIndexOf) reads or writes.
int OffsetInSlot(const LoopFacts& facts, int slot, const Instruction& instruction, int operand_index);

}  // namespace tracelift::jit

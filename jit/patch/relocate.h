// Copies one instruction of the program to another address so that it does the same there.
#pragma once

#include "jit/code/decoded_function.h"
#include "jit/patch/code_writer.h"

namespace tracelift::jit {

/// False for the few that mean something else elsewhere and have no equivalent: calls (their return address shows),
/// xbegin, 32-bit RIP-relative addresses, and branches with operand-size prefix.
bool CanRelocate(const Instruction& instruction);

/// A direct jump, conditional or not: jmp, jcc, loop*, j*cxz.
bool IsDirectJump(const Instruction& instruction);
uint64_t DirectJumpTarget(const Instruction& instruction);

/// The condition code (0-15) of a jcc; -1 for every other instruction.
int ConditionOf(const Instruction& instruction);

/// Everything but direct jumps. RIP-relative operands keep their absolute address: CodeWriter::Finish fails when it
/// is out of reach.
void RelocateInstruction(const Instruction& instruction, CodeWriter* writer);

/// A direct jump, leading to `taken` now; falls through to what is written next otherwise.
void RelocateJump(const Instruction& instruction, Label taken, CodeWriter* writer);

}  // namespace tracelift::jit

// Recognises the jump tables that gcc and clang make of switch statements.
#pragma once

#include <optional>
#include <vector>

#include "jit/code/decoded_function.h"
#include "jit/code/reachable_code.h"

namespace tracelift::jit {

/// Where guessed blocks (reachable_code.h) are entered from.
enum class Guesses : uint8_t {
  kByIndirectJumps,  // by the function's own indirect jumps not proven yet: good for finding candidates
  kUnknownEntries,   // from anywhere
};

/// The tables behind the indirect jumps of `function`, those that are proven:
/// - the address jumped to is computed from a table at a constant address, in one of the compilers' forms:
///   entries of 4 bytes relative to the table (movsxd r, [table+i*4]; add r, table; jmp r), or of 8 bytes (jmp
///   [table+i*8], or through a register);
/// - the index is bounded: by the comparison that ends the only block leading to the jump's block, by its width (a
/// zero-
///   extended byte), or by a mask;
/// - the table lies in memory that never changes, and all its entries lead to instructions of this function.
///
/// The proof holds for the control flow known so far. Code that the tables lead to may show another way to the jump:
/// find them again when it is known.
std::vector<JumpTable> FindJumpTables(const CodeReader& reader, const DecodedFunction& function,
                                      const ReachableCode& reachable, Guesses guesses);

}  // namespace tracelift::jit

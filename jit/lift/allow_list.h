// Which instructions are lifted. An instruction enters this list only with a case in tests/jit/lift that runs it on the
// real CPU over random and edge states; a test there fails for a mnemonic without one. Private to jit/lift.
#pragma once

#include <Zydis/Zydis.h>

#include <cstdint>

namespace tracelift::jit {

/// Which part of the translator knows the instruction.
enum class InstructionFamily : uint8_t {
  kNone,        // not on the list
  kBranch,      // jumps that end a block
  kInteger,     // general purpose registers and flags
  kSseFloat,    // float arithmetic, comparisons, conversions; these three in legacy and VEX encodings
  kSseMove,     // moves and shuffles of whole lanes
  kSseInteger,  // packed integers
  kVexFloat,    // these three have no legacy encoding: fused arithmetic, half precision
  kVexMove,     // broadcasts, moves between the halves of 256 bits, masked moves
  kVexInteger,  // shifts by element
  kMask,        // mask registers of AVX-512
  kEvexFloat,   // these three have neither a legacy nor a VEX encoding
  kEvexMove,
  kEvexInteger,
};

InstructionFamily FamilyOf(ZydisMnemonic mnemonic);

}  // namespace tracelift::jit

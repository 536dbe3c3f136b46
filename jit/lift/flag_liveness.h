// The arithmetic flags as the translator keeps them, and which of them an instruction's result must provide.
//
// Beside the six flags of the machine there are three that compilers test as combinations: kept as values of their own
// ("a < b" of the comparison), they reach the branch as one icmp, whatever block it is in. Private to jit/lift.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

enum StatusFlag : uint8_t {
  kCarry,
  kParity,
  kAdjust,
  kZero,
  kSign,
  kOverflow,
  kLess,        // sign != overflow
  kLessEqual,   // zero or less
  kBelowEqual,  // carry or zero
  kStatusFlagCount
};

using FlagMask = uint16_t;
inline constexpr FlagMask kNoFlags = 0;
inline constexpr FlagMask kAllFlags = (1 << kStatusFlagCount) - 1;
constexpr FlagMask Bit(StatusFlag flag) { return static_cast<FlagMask>(1 << flag); }

/// The condition of a jcc, setcc or cmovcc.
struct Condition {
  StatusFlag flag = kCarry;
  bool negated = false;
};
/// False when `mnemonic` has none.
bool ConditionOf(ZydisMnemonic mnemonic, Condition* condition);

/// Flags that the instruction may change, combinations included.
FlagMask FlagsWritten(const Instruction& instruction);

/// True for shifts by a count that may be zero when it runs, which then leave the flags alone.
bool MayKeepFlags(const Instruction& instruction);

/// Per instruction of `block`: the flags that something may read after it. `live_at_end`: what follows the block may
/// read flags.
std::vector<FlagMask> LiveFlagsAfter(const DecodedFunction& function, const BasicBlock& block, bool live_at_end);

}  // namespace tracelift::jit

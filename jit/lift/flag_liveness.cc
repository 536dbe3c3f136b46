#include "jit/lift/flag_liveness.h"

#include <utility>

namespace tracelift::jit {
namespace {

constexpr FlagMask kSources[] = {
    Bit(kCarry),
    Bit(kParity),
    Bit(kAdjust),
    Bit(kZero),
    Bit(kSign),
    Bit(kOverflow),
    Bit(kSign) | Bit(kOverflow),
    Bit(kZero) | Bit(kSign) | Bit(kOverflow),
    Bit(kCarry) | Bit(kZero),
};

FlagMask FlagsRead(const Instruction& instruction) {
  Condition condition;
  if (ConditionOf(instruction.info.mnemonic, &condition)) return Bit(condition.flag);
  switch (instruction.info.mnemonic) {
    case ZYDIS_MNEMONIC_ADC:
    case ZYDIS_MNEMONIC_SBB:
    case ZYDIS_MNEMONIC_ADCX:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_CMC: return Bit(kCarry);
    case ZYDIS_MNEMONIC_ADOX: return Bit(kOverflow);
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE: return Bit(kZero);
    case ZYDIS_MNEMONIC_LAHF: return Bit(kCarry) | Bit(kParity) | Bit(kAdjust) | Bit(kZero) | Bit(kSign);
    default: return kNoFlags;
  }
}

bool IsShift(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD: return true;
    default: return false;
  }
}

const ZydisDecodedOperand& ShiftCount(const Instruction& instruction) {
  const ZydisMnemonic mnemonic = instruction.info.mnemonic;
  const bool is_double = mnemonic == ZYDIS_MNEMONIC_SHLD || mnemonic == ZYDIS_MNEMONIC_SHRD;
  return instruction.operands[is_double ? 2 : 1];
}

bool HasZeroCount(const Instruction& instruction) {
  if (!IsShift(instruction.info.mnemonic)) return false;
  const ZydisDecodedOperand& count = ShiftCount(instruction);
  const uint64_t mask = instruction.operands[0].size == 64 ? 63 : 31;
  return count.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && (count.imm.value.u & mask) == 0;
}

}  // namespace

bool ConditionOf(ZydisMnemonic mnemonic, Condition* condition) {
  switch (mnemonic) {
#define TL_CONDITION(name, flag, negated)                                                            \
  case ZYDIS_MNEMONIC_J##name:                                                                       \
  case ZYDIS_MNEMONIC_SET##name:                                                                     \
  case ZYDIS_MNEMONIC_CMOV##name:                                                                    \
    *condition = {flag, negated};                                                                    \
    return true;
    TL_CONDITION(O, kOverflow, false)
    TL_CONDITION(NO, kOverflow, true)
    TL_CONDITION(B, kCarry, false)
    TL_CONDITION(NB, kCarry, true)
    TL_CONDITION(Z, kZero, false)
    TL_CONDITION(NZ, kZero, true)
    TL_CONDITION(BE, kBelowEqual, false)
    TL_CONDITION(NBE, kBelowEqual, true)
    TL_CONDITION(S, kSign, false)
    TL_CONDITION(NS, kSign, true)
    TL_CONDITION(P, kParity, false)
    TL_CONDITION(NP, kParity, true)
    TL_CONDITION(L, kLess, false)
    TL_CONDITION(NL, kLess, true)
    TL_CONDITION(LE, kLessEqual, false)
    TL_CONDITION(NLE, kLessEqual, true)
#undef TL_CONDITION
    default: return false;
  }
}

FlagMask FlagsWritten(const Instruction& instruction) {
  if (instruction.info.mnemonic == ZYDIS_MNEMONIC_VPTEST) return kAllFlags;  // Zydis leaves out those it clears
  const ZydisAccessedFlags* accessed = instruction.info.cpu_flags;
  if (accessed == nullptr || HasZeroCount(instruction)) return kNoFlags;
  const ZydisAccessedFlagsMask changed = accessed->modified | accessed->set_0 | accessed->set_1 | accessed->undefined;
  constexpr std::pair<ZydisAccessedFlagsMask, StatusFlag> kFlags[] = {
      {ZYDIS_CPUFLAG_CF, kCarry}, {ZYDIS_CPUFLAG_PF, kParity}, {ZYDIS_CPUFLAG_AF, kAdjust},
      {ZYDIS_CPUFLAG_ZF, kZero},  {ZYDIS_CPUFLAG_SF, kSign},   {ZYDIS_CPUFLAG_OF, kOverflow}};
  FlagMask written = kNoFlags;
  for (const auto& [bit, flag] : kFlags) {
    if ((changed & bit) != 0) written |= Bit(flag);
  }
  for (StatusFlag flag : {kLess, kLessEqual, kBelowEqual}) {
    if ((kSources[flag] & written) != 0) written |= Bit(flag);
  }
  return written;
}

bool MayKeepFlags(const Instruction& instruction) {
  return IsShift(instruction.info.mnemonic) && ShiftCount(instruction).type != ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

std::vector<FlagMask> LiveFlagsAfter(const DecodedFunction& function, const BasicBlock& block, bool live_at_end) {
  std::vector<FlagMask> after(static_cast<size_t>(block.count));
  FlagMask live = live_at_end ? kAllFlags : kNoFlags;
  for (int i = block.count - 1; i >= 0; --i) {
    const Instruction& instruction = function.instructions[block.first + i];
    after[i] = live;
    const FlagMask written = FlagsWritten(instruction);
    const FlagMask wanted = live & written;
    if (!MayKeepFlags(instruction)) live &= ~written;
    // A combination of which only a part changes is computed anew from that part and the old rest.
    for (StatusFlag flag : {kLess, kLessEqual, kBelowEqual}) {
      if ((wanted & Bit(flag)) != 0) live |= kSources[flag] & ~written;
    }
    live |= FlagsRead(instruction);
  }
  return after;
}

}  // namespace tracelift::jit

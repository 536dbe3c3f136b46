#include "jit/lift/vector_lanes.h"

#include <optional>
#include <string_view>

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"

namespace tracelift::jit {
namespace {

/// What the users of one place want. Indexed by LaneKind.
struct Votes {
  std::array<int, 4> count{};
  int total() const { return count[0] + count[1] + count[2] + count[3]; }
  void Add(LaneKind kind, int weight) { count[static_cast<size_t>(kind)] += weight; }

  LaneKind Winner() const {
    const int wide = count[static_cast<size_t>(LaneKind::kI64)] + count[static_cast<size_t>(LaneKind::kF64)];
    const int narrow = count[static_cast<size_t>(LaneKind::kI32)] + count[static_cast<size_t>(LaneKind::kF32)];
    const LaneKind integer = narrow > wide ? LaneKind::kI32 : LaneKind::kI64;
    const LaneKind real = narrow > wide ? LaneKind::kF32 : LaneKind::kF64;
    return count[static_cast<size_t>(real)] > count[static_cast<size_t>(integer)] ? real : integer;
  }
};

constexpr int kStrong = 4;  // arithmetic: the lanes are of this type
constexpr int kWeak = 1;    // moves and shuffles: the lanes are of this width

struct Vote {
  LaneKind kind{};
  int weight = 0;  // 0: none
};

/// The fused operations; all have the same letters before the type.
LaneKind FusedKind(ZydisMnemonic mnemonic) {
  const std::string_view name = ZydisMnemonicGetString(mnemonic);
  return name.ends_with("ps") || name.ends_with("ss") ? LaneKind::kF32 : LaneKind::kF64;
}

/// What `mnemonic` (LegacyForm) wants an operand to be: 0 is the destination and, where it has two, the first source, 1
/// the last source. Bit logic and whole-register moves take anything.
Vote VoteOf(ZydisMnemonic mnemonic, int operand) {
  if (IsFusedMultiplyAdd(mnemonic)) return {FusedKind(mnemonic), kStrong};
  switch (mnemonic) {
#define TL_CASE(name) case ZYDIS_MNEMONIC_##name:
    TL_CASE(ADDSD) TL_CASE(ADDPD) TL_CASE(SUBSD) TL_CASE(SUBPD) TL_CASE(MULSD) TL_CASE(MULPD) TL_CASE(DIVSD)
    TL_CASE(DIVPD) TL_CASE(SQRTSD) TL_CASE(SQRTPD) TL_CASE(MINSD) TL_CASE(MINPD) TL_CASE(MAXSD) TL_CASE(MAXPD)
    TL_CASE(HADDPD) TL_CASE(HSUBPD) TL_CASE(ADDSUBPD) TL_CASE(COMISD) TL_CASE(UCOMISD) TL_CASE(CMPSD) TL_CASE(CMPPD)
    TL_CASE(ROUNDSD) TL_CASE(ROUNDPD)
      return {LaneKind::kF64, kStrong};
    TL_CASE(ADDSS) TL_CASE(ADDPS) TL_CASE(SUBSS) TL_CASE(SUBPS) TL_CASE(MULSS) TL_CASE(MULPS) TL_CASE(DIVSS)
    TL_CASE(DIVPS) TL_CASE(SQRTSS) TL_CASE(SQRTPS) TL_CASE(MINSS) TL_CASE(MINPS) TL_CASE(MAXSS) TL_CASE(MAXPS)
    TL_CASE(HADDPS) TL_CASE(HSUBPS) TL_CASE(ADDSUBPS) TL_CASE(COMISS) TL_CASE(UCOMISS) TL_CASE(CMPSS) TL_CASE(CMPPS)
    TL_CASE(ROUNDSS) TL_CASE(ROUNDPS) TL_CASE(RCPSS) TL_CASE(RCPPS) TL_CASE(RSQRTSS) TL_CASE(RSQRTPS)
      return {LaneKind::kF32, kStrong};

    TL_CASE(CVTSI2SD) return operand == 0 ? Vote{LaneKind::kF64, kStrong} : Vote{};
    TL_CASE(CVTSI2SS) return operand == 0 ? Vote{LaneKind::kF32, kStrong} : Vote{};
    TL_CASE(CVTSD2SI) TL_CASE(CVTTSD2SI) return operand == 1 ? Vote{LaneKind::kF64, kStrong} : Vote{};
    TL_CASE(CVTSS2SI) TL_CASE(CVTTSS2SI) return operand == 1 ? Vote{LaneKind::kF32, kStrong} : Vote{};
    TL_CASE(CVTSS2SD) TL_CASE(CVTPS2PD) return {operand == 0 ? LaneKind::kF64 : LaneKind::kF32, kStrong};
    TL_CASE(CVTSD2SS) TL_CASE(CVTPD2PS) return {operand == 0 ? LaneKind::kF32 : LaneKind::kF64, kStrong};
    TL_CASE(VCVTPH2PS) return operand == 0 ? Vote{LaneKind::kF32, kStrong} : Vote{};
    TL_CASE(VCVTPS2PH) return operand == 1 ? Vote{LaneKind::kF32, kStrong} : Vote{};
    TL_CASE(CVTDQ2PD) return {operand == 0 ? LaneKind::kF64 : LaneKind::kI32, kStrong};
    TL_CASE(CVTDQ2PS) return {operand == 0 ? LaneKind::kF32 : LaneKind::kI32, kStrong};
    TL_CASE(CVTPD2DQ) TL_CASE(CVTTPD2DQ) return {operand == 0 ? LaneKind::kI32 : LaneKind::kF64, kStrong};
    TL_CASE(CVTPS2DQ) TL_CASE(CVTTPS2DQ) return {operand == 0 ? LaneKind::kI32 : LaneKind::kF32, kStrong};

    TL_CASE(PADDD) TL_CASE(PSUBD) TL_CASE(PMULLD) TL_CASE(PCMPEQD) TL_CASE(PCMPGTD) TL_CASE(PMINSD) TL_CASE(PMAXSD)
    TL_CASE(PMINUD) TL_CASE(PMAXUD) TL_CASE(PABSD) TL_CASE(PHADDD) TL_CASE(PHSUBD) TL_CASE(PSIGND) TL_CASE(VPSLLVD)
    TL_CASE(VPSRLVD) TL_CASE(VPSRAVD)
      return {LaneKind::kI32, kStrong};
    TL_CASE(PSLLD) TL_CASE(PSRLD) TL_CASE(PSRAD)
      return operand == 0 ? Vote{LaneKind::kI32, kStrong} : Vote{};
    TL_CASE(PADDQ) TL_CASE(PSUBQ) TL_CASE(PCMPEQQ) TL_CASE(PCMPGTQ) TL_CASE(VPSLLVQ) TL_CASE(VPSRLVQ)
      return {LaneKind::kI64, kStrong};
    TL_CASE(PSLLQ) TL_CASE(PSRLQ)
      return operand == 0 ? Vote{LaneKind::kI64, kStrong} : Vote{};
    TL_CASE(PMULUDQ) TL_CASE(PMULDQ) return {LaneKind::kI64, kWeak};

    TL_CASE(MOVSD) TL_CASE(MOVLPD) TL_CASE(MOVHPD) TL_CASE(UNPCKLPD) TL_CASE(UNPCKHPD) TL_CASE(SHUFPD)
    TL_CASE(MOVDDUP) TL_CASE(MOVMSKPD) TL_CASE(VBROADCASTSD) TL_CASE(VPERMPD) TL_CASE(VPERMILPD) TL_CASE(BLENDPD)
    TL_CASE(BLENDVPD) TL_CASE(VMASKMOVPD)
      return {LaneKind::kF64, 2 * kWeak};
    TL_CASE(MOVLPS) TL_CASE(MOVHPS) TL_CASE(MOVHLPS) TL_CASE(MOVLHPS)
      return {LaneKind::kF64, kWeak};
    TL_CASE(MOVSS) TL_CASE(UNPCKLPS) TL_CASE(UNPCKHPS) TL_CASE(SHUFPS) TL_CASE(MOVSHDUP) TL_CASE(MOVSLDUP)
    TL_CASE(MOVMSKPS) TL_CASE(INSERTPS) TL_CASE(BLENDPS) TL_CASE(EXTRACTPS) TL_CASE(VBROADCASTSS) TL_CASE(VPERMPS)
    TL_CASE(VPERMILPS) TL_CASE(BLENDVPS) TL_CASE(VMASKMOVPS)
      return {LaneKind::kF32, 2 * kWeak};
    TL_CASE(MOVD) TL_CASE(PSHUFD) TL_CASE(PUNPCKLDQ) TL_CASE(PUNPCKHDQ) TL_CASE(PINSRD) TL_CASE(PEXTRD)
    TL_CASE(VPBROADCASTD) TL_CASE(VPERMD) TL_CASE(VPBLENDD) TL_CASE(VPMASKMOVD)
      return {LaneKind::kI32, 2 * kWeak};
    TL_CASE(MOVQ) TL_CASE(PUNPCKLQDQ) TL_CASE(PUNPCKHQDQ) TL_CASE(PINSRQ) TL_CASE(PEXTRQ)
    TL_CASE(VPBROADCASTQ) TL_CASE(VPERMQ) TL_CASE(VPMASKMOVQ)
      return {LaneKind::kI64, kWeak};
#undef TL_CASE
    default: return {};
  }
}

/// What instructions without a legacy or VEX form say about an operand themselves.
Vote EvexVoteOf(const Instruction& instruction, int operand) {
  const ZydisMnemonic mnemonic = instruction.info.mnemonic;
  if (LegacyForm(mnemonic) != mnemonic) return {};
  if (mnemonic == ZYDIS_MNEMONIC_VPTERNLOGD || mnemonic == ZYDIS_MNEMONIC_VPTERNLOGQ) return {};
  const ZydisDecodedOperand& named = instruction.operands[operand];
  if (named.element_size != 32 && named.element_size != 64) return {};
  const bool is_double = named.element_size == 64;
  const bool is_float = named.element_type == ZYDIS_ELEMENT_TYPE_FLOAT32 || named.element_type == ZYDIS_ELEMENT_TYPE_FLOAT64;
  if (is_float) return {is_double ? LaneKind::kF64 : LaneKind::kF32, 2 * kWeak};
  return {is_double ? LaneKind::kI64 : LaneKind::kI32, 2 * kWeak};
}

/// The last operand in `op a, b` and `op a, b, c`.
bool IsLastSource(const Instruction& instruction, int operand) {
  return operand == (HasOwnDestination(instruction.info, instruction.operands) ? 2 : 1);
}

}  // namespace

LaneKinds ChooseLanes(const DecodedFunction& function, const LoopFacts& facts) {
  const size_t slots = facts.slots.size();
  std::vector<Votes> votes(kVectorCount + slots);
  std::vector<std::pair<size_t, size_t>> copies;

  const auto place_of = [&](const Instruction& instruction, int operand) -> std::optional<size_t> {
    if (VectorBits(instruction.operands[operand]) != 0) {
      return static_cast<size_t>(ZydisRegisterGetId(instruction.operands[operand].reg.value));
    }
    const int slot = SlotIndexOf(facts, instruction, operand);
    return slot < 0 ? std::nullopt : std::optional<size_t>(static_cast<size_t>(kVectorCount + slot));
  };
  for (int b : function.LiftedBlocks(facts.loop)) {
    const BasicBlock& block = function.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& named = function.instructions[i];
      const bool is_evex = named.valid && IsEvex(named.info);
      const Instruction plain = is_evex ? WithoutMaskOperand(named) : Instruction();
      const Instruction& instruction = is_evex ? plain : named;
      const ZydisMnemonic form = LegacyForm(instruction.info.mnemonic);
      std::optional<size_t> destination;
      for (int operand = 0; operand < std::min<int>(3, instruction.info.operand_count_visible); ++operand) {
        const std::optional<size_t> place = place_of(instruction, operand);
        if (!place) continue;
        Vote vote = VoteOf(form, IsLastSource(instruction, operand) ? 1 : 0);
        if (is_evex && vote.weight == 0) vote = EvexVoteOf(instruction, operand);
        if (vote.weight > 0) votes[*place].Add(vote.kind, vote.weight);
        if (operand == 0) destination = place;
        if (destination && *destination != *place) copies.emplace_back(*destination, *place);
      }
    }
  }
  // A place without a vote follows one that it exchanges values with.
  for (int round = 0; round < 3; ++round) {
    for (const auto& [a, b] : copies) {
      if (votes[a].total() == 0 && votes[b].total() > 0) votes[a].Add(votes[b].Winner(), kWeak);
      if (votes[b].total() == 0 && votes[a].total() > 0) votes[b].Add(votes[a].Winner(), kWeak);
    }
  }

  LaneKinds kinds;
  for (size_t i = 0; i < kVectorCount; ++i) kinds.vector[i] = votes[i].Winner();
  for (size_t i = 0; i < slots; ++i) kinds.slot.push_back(votes[kVectorCount + i].Winner());
  return kinds;
}

}  // namespace tracelift::jit

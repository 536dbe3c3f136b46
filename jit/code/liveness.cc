#include "jit/code/liveness.h"

#include <algorithm>

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"

namespace tracelift::jit {
namespace {

constexpr RegisterSet CalleeSaved() {
  RegisterSet set;
  for (int gpr : {kRbx, kRsp, kRbp, kR12, kR13, kR14, kR15}) set.AddGpr(gpr);
  return set;
}

constexpr RegisterSet ReadByReturn() {
  RegisterSet set = CalleeSaved();
  set.AddGpr(kRax);
  set.AddGpr(kRdx);
  set.AddVector(0);
  set.AddVector(1);
  return set;
}

constexpr RegisterSet ReadByCall() {
  RegisterSet set = CalleeSaved();
  for (int gpr : {kRdi, kRsi, kRdx, kRcx, kR8, kR9, kR10, kRax}) set.AddGpr(gpr);  // r10: static chain, rax: varargs
  for (int vector = 0; vector < 8; ++vector) set.AddVector(vector);
  return set;
}

/// Registers with general purpose ones in four parts (bits 0-7, 8-15, 16-31, 32-63): `sete al` neither needs nor
/// changes the rest of rax, and compilers leave garbage there.
struct PartSet {
  RegisterSet whole;   // vector registers and flags
  uint64_t parts = 0;  // four bits for each general purpose register

  PartSet operator|(PartSet o) const { return {whole | o.whole, parts | o.parts}; }
  PartSet operator-(PartSet o) const { return {whole - o.whole, parts & ~o.parts}; }
  bool operator==(const PartSet&) const = default;
};

constexpr uint64_t kAllParts = 0xf;
constexpr uint64_t PartsOf(int gpr, uint64_t parts) { return parts << (4 * gpr); }

PartSet Split(RegisterSet set) {
  PartSet split{set, 0};
  for (int gpr = 0; gpr < kGprCount; ++gpr) {
    if (set.HasGpr(gpr)) split.parts |= PartsOf(gpr, kAllParts);
  }
  return split;
}

RegisterSet Join(PartSet set) {
  RegisterSet joined = set.whole;
  joined.RemoveGprs();
  for (int gpr = 0; gpr < kGprCount; ++gpr) {
    if ((set.parts & PartsOf(gpr, kAllParts)) != 0) joined.AddGpr(gpr);
  }
  return joined;
}

/// The parts that an operand of this register names, 0 when it is no general purpose register.
uint64_t NamedParts(ZydisRegister reg) {
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
      return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH ? 2 : 1;
    case ZYDIS_REGCLASS_GPR16:
      return 3;
    case ZYDIS_REGCLASS_GPR32:
      return 7;
    case ZYDIS_REGCLASS_GPR64:
      return kAllParts;
    default:
      return 0;
  }
}

int GprOf(ZydisRegister reg) {
  return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
}

struct Effect {
  PartSet reads, writes;
};

/// Scalar float instructions, which look at the low half of the registers they name only, and whose result leaves the
/// upper half as it is in the first source.
enum class ScalarKind : uint8_t {
  kNone,
  kReadsBoth,  // first source too: additions, comparisons; single precision, which keeps bits 32-63
  kReplaces,   // the low half of the first source does not matter
};

/// Of LegacyForm.
ScalarKind ScalarKindOf(ZydisMnemonic form) {
  switch (form) {
    case ZYDIS_MNEMONIC_ADDSD:
    case ZYDIS_MNEMONIC_SUBSD:
    case ZYDIS_MNEMONIC_MULSD:
    case ZYDIS_MNEMONIC_DIVSD:
    case ZYDIS_MNEMONIC_MINSD:
    case ZYDIS_MNEMONIC_MAXSD:
    case ZYDIS_MNEMONIC_UCOMISD:
    case ZYDIS_MNEMONIC_COMISD:
    case ZYDIS_MNEMONIC_ADDSS:
    case ZYDIS_MNEMONIC_SUBSS:
    case ZYDIS_MNEMONIC_MULSS:
    case ZYDIS_MNEMONIC_DIVSS:
    case ZYDIS_MNEMONIC_MINSS:
    case ZYDIS_MNEMONIC_MAXSS:
    case ZYDIS_MNEMONIC_SQRTSS:
    case ZYDIS_MNEMONIC_RCPSS:
    case ZYDIS_MNEMONIC_RSQRTSS:
    case ZYDIS_MNEMONIC_UCOMISS:
    case ZYDIS_MNEMONIC_COMISS:
    case ZYDIS_MNEMONIC_CVTSD2SS:
    case ZYDIS_MNEMONIC_CVTSI2SS:
    case ZYDIS_MNEMONIC_CVTTSD2SI:
    case ZYDIS_MNEMONIC_CVTTSS2SI:
    case ZYDIS_MNEMONIC_CVTSD2SI:
    case ZYDIS_MNEMONIC_CVTSS2SI:
#define TL_FUSED(name)                \
  case ZYDIS_MNEMONIC_VF##name##132SS:  \
  case ZYDIS_MNEMONIC_VF##name##213SS:  \
  case ZYDIS_MNEMONIC_VF##name##231SS:  \
  case ZYDIS_MNEMONIC_VF##name##132SD:  \
  case ZYDIS_MNEMONIC_VF##name##213SD:  \
  case ZYDIS_MNEMONIC_VF##name##231SD:
      TL_FUSED(MADD) TL_FUSED(MSUB) TL_FUSED(NMADD) TL_FUSED(NMSUB)
#undef TL_FUSED
      return ScalarKind::kReadsBoth;
    case ZYDIS_MNEMONIC_SQRTSD:
    case ZYDIS_MNEMONIC_CVTSS2SD:
    case ZYDIS_MNEMONIC_CVTSI2SD:
      return ScalarKind::kReplaces;
    default:
      return ScalarKind::kNone;
  }
}

void NarrowScalarFloats(const Instruction& instruction, Effect* effect) {
  const ZydisDecodedInstruction& info = instruction.info;
  const ZydisDecodedOperand* operands = instruction.operands;
  if (IsMasked(info)) return;
  if (IsEvex(info) && HasMaskOperand(instruction)) return NarrowScalarFloats(WithoutMaskOperand(instruction), effect);
  const auto vector_at = [&](int index) {
    const bool named = index < info.operand_count_visible && VectorBits(operands[index]) != 0;
    return named ? static_cast<int>(ZydisRegisterGetId(operands[index].reg.value)) : -1;
  };
  const ZydisMnemonic form = LegacyForm(info.mnemonic);
  ScalarKind kind = ScalarKindOf(form);
  const bool is_move = (form == ZYDIS_MNEMONIC_MOVSD || form == ZYDIS_MNEMONIC_MOVSS) &&
                       info.meta.category != ZYDIS_CATEGORY_STRINGOP;
  const bool has_own_destination = HasOwnDestination(info, operands);
  // A load writes the whole register, as UseOf says; the other moves name low halves only.
  if (is_move && vector_at(has_own_destination ? 2 : 1) >= 0) {
    kind = form == ZYDIS_MNEMONIC_MOVSD ? ScalarKind::kReplaces : ScalarKind::kReadsBoth;
  }
  if (kind == ScalarKind::kNone) return;

  const int destination = vector_at(0);
  if (!has_own_destination || IsFusedMultiplyAdd(form)) {
    for (int i = 0; i < 3; ++i) {
      const int vector = vector_at(i);
      if (vector < 0) continue;
      effect->reads.whole.RemoveVectorUpper(vector);
      effect->writes.whole.RemoveVectorUpper(vector);
    }
    const bool reads_it = destination == vector_at(1);
    if (kind == ScalarKind::kReplaces && destination >= 0 && !reads_it) effect->reads.whole.RemoveVector(destination);
    return;
  }
  // vaddsd a, b, c: the upper half of a becomes that of b.
  const int first = vector_at(1), second = vector_at(2);
  if (second >= 0 && second != first) effect->reads.whole.RemoveVectorUpper(second);
  if (kind == ScalarKind::kReplaces && first >= 0 && first != second) effect->reads.whole.RemoveVectorLow(first);
  if (destination != first) return;
  effect->reads.whole.RemoveVectorUpper(first);
  effect->writes.whole.RemoveVectorUpper(first);
}

/// vzeroupper: what it leaves in a register is either what was there or zero. Liveness passes through it.
void PassThroughZeroing(const Instruction& instruction, Effect* effect) {
  if (instruction.info.mnemonic != ZYDIS_MNEMONIC_VZEROUPPER) return;
  *effect = {};
}

/// Legacy instructions leave what lies above 128 bits alone, which matters where other code uses it.
void KeepAbove(const Instruction& instruction, Effect* effect) {
  if (instruction.info.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) return;
  for (int vector = 0; vector < kVectorCount; ++vector) effect->writes.whole.RemoveVectorUpper(vector);
}

/// Some instruction reads or writes more than 128 bits of a register. Where none does, nobody looks at what lies above.
bool UsesWideVectors(const DecodedFunction& function) {
  return std::any_of(function.instructions.begin(), function.instructions.end(), [](const Instruction& instruction) {
    return std::any_of(instruction.operands, instruction.operands + instruction.info.operand_count,
                       [](const ZydisDecodedOperand& operand) { return VectorBits(operand) > 128; });
  });
}

/// UseOf, made precise for scalar floats, and for 8- and 16-bit registers that are named once, read or written only.
Effect EffectOf(const Instruction& instruction, bool uses_wide) {
  const RegisterUse use = UseOf(instruction);
  Effect effect{Split(use.reads), Split(use.writes)};
  if (!instruction.valid || instruction.callee != KnownCallee::kNone || instruction.linkage != Linkage::kNone ||
      use.writes == RegisterSet::All()) {
    return effect;
  }
  NarrowScalarFloats(instruction, &effect);
  PassThroughZeroing(instruction, &effect);
  if (uses_wide) KeepAbove(instruction, &effect);
  int mentions[kGprCount] = {};
  for (int i = 0; i < instruction.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && NamedParts(operand.reg.value) != 0) {
      ++mentions[GprOf(operand.reg.value)];
    } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
      if (NamedParts(operand.mem.base) != 0) ++mentions[GprOf(operand.mem.base)];
      if (NamedParts(operand.mem.index) != 0) ++mentions[GprOf(operand.mem.index)];
    }
  }
  for (int i = 0; i < instruction.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    const uint64_t named = NamedParts(operand.reg.value);
    if (named != 1 && named != 2 && named != 3) continue;
    const int gpr = GprOf(operand.reg.value);
    if (mentions[gpr] != 1) continue;
    const uint64_t whole = PartsOf(gpr, kAllParts), part = PartsOf(gpr, named);
    if (operand.actions == ZYDIS_OPERAND_ACTION_WRITE) {
      effect.reads.parts &= ~whole;
      effect.writes.parts = (effect.writes.parts & ~whole) | part;
    } else if (operand.actions == ZYDIS_OPERAND_ACTION_READ) {
      effect.reads.parts = (effect.reads.parts & ~whole) | part;
    }
  }
  return effect;
}

/// live before = (live after - kill) | gen, over a whole block.
struct Transfer {
  PartSet gen, kill;
};

Transfer TransferOf(const DecodedFunction& function, const BasicBlock& block, const ReadBeyond& read_beyond,
                    bool uses_wide) {
  Transfer transfer;
  for (int i = block.first + block.count - 1; i >= block.first; --i) {
    const Instruction& instruction = function.instructions[i];
    Effect effect = EffectOf(instruction, uses_wide);
    if (instruction.valid && instruction.info.meta.category == ZYDIS_CATEGORY_CALL &&
        instruction.callee == KnownCallee::kNone && instruction.linkage == Linkage::kNone) {
      const auto known = read_beyond.find(instruction.address);
      effect.reads = effect.reads | Split(known != read_beyond.end() ? known->second | CalleeSaved() : ReadByCall());
    }
    transfer.gen = (transfer.gen - effect.writes) | effect.reads;
    transfer.kill = transfer.kill | effect.writes;
  }
  return transfer;
}

/// Live at the end of a block because of what lies outside this function.
RegisterSet LiveBeyond(const DecodedFunction& function, const BasicBlock& block, const ReadBeyond& read_beyond) {
  const Instruction& last = function.LastOf(block);
  switch (block.end_kind) {
    case BlockEnd::kReturn:
      return ReadByReturn();
    case BlockEnd::kIndirect:
      return RegisterSet::All();
    case BlockEnd::kStop:
      return last.valid && block.targets.empty() ? RegisterSet() : RegisterSet::All();  // ud2, hlt : ran out of code
    default:
      break;
  }
  RegisterSet read;
  bool leaves = false;  // to a place of which nothing is known
  for (uint64_t target : block.targets) {
    if (function.BlockAt(target) >= 0) continue;
    const auto known = read_beyond.find(target);
    leaves |= known == read_beyond.end();
    if (known != read_beyond.end()) read = read | known->second | CalleeSaved();
  }
  // A callee that goes on in another function calls it, and comes back.
  if (leaves && IsInCopy(block.begin)) return ReadByCall() | ReadByReturn();
  return leaves ? RegisterSet::All() : read;
}

}  // namespace

RegisterSet ReadByAnyCall() { return ReadByCall(); }
RegisterSet KeptByAnyCall() { return CalleeSaved(); }

std::vector<RegisterSet> LiveIn(const DecodedFunction& function, const ReadBeyond& read_beyond) {
  const size_t count = function.blocks.size();
  const bool uses_wide = UsesWideVectors(function);
  std::vector<Transfer> transfers;
  std::vector<PartSet> beyond;
  for (const BasicBlock& block : function.blocks) {
    transfers.push_back(TransferOf(function, block, read_beyond, uses_wide));
    beyond.push_back(Split(LiveBeyond(function, block, read_beyond)));
  }
  std::vector<PartSet> live_in(count);
  std::vector<int> pending;
  std::vector<bool> queued(count, true);
  for (size_t b = 0; b < count; ++b) pending.push_back(static_cast<int>(b));  // taken from the back: last block first
  while (!pending.empty()) {
    const int b = pending.back();
    pending.pop_back();
    queued[b] = false;
    PartSet live = beyond[b];
    for (int successor : function.blocks[b].successors) live = live | live_in[successor];
    live = (live - transfers[b].kill) | transfers[b].gen;
    if (live == live_in[b]) continue;
    live_in[b] = live;
    for (int predecessor : function.blocks[b].predecessors) {
      if (queued[predecessor]) continue;
      queued[predecessor] = true;
      pending.push_back(predecessor);
    }
  }
  std::vector<RegisterSet> joined;
  for (const PartSet& live : live_in) joined.push_back(Join(live));
  return joined;
}

}  // namespace tracelift::jit

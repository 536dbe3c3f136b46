#include "jit/code/slots.h"

#include <algorithm>
#include <optional>

namespace tracelift::jit {
namespace {

/// A memory operand at `base` + constant.
struct FixedOperand {
  Slot where;
  bool can_be_slot = true;
};

bool IsAccess(const ZydisDecodedInstruction& info, const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type == ZYDIS_MEMOP_TYPE_MEM &&
         operand.actions != 0 && info.mnemonic != ZYDIS_MNEMONIC_NOP && info.meta.category != ZYDIS_CATEGORY_PREFETCH;
}

/// The operand names bytes that it does not always, not only, or not privately access.
bool IsIrregular(const Instruction& instruction, const ZydisDecodedOperand& operand) {
  const ZydisDecodedInstruction& info = instruction.info;
  if ((info.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0) return true;
  if (info.avx.mask.mode > ZYDIS_MASK_MODE_DISABLED) return true;
  if (info.avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID && !info.avx.broadcast.is_static) return true;
  constexpr ZydisOperandActions kConditional = ZYDIS_OPERAND_ACTION_CONDREAD | ZYDIS_OPERAND_ACTION_CONDWRITE;
  if ((operand.actions & kConditional) != 0) return true;
  switch (info.mnemonic) {
    case ZYDIS_MNEMONIC_XCHG:  // locks without saying so
    case ZYDIS_MNEMONIC_CMPXCHG:
    case ZYDIS_MNEMONIC_XLAT:  // al is a hidden index
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
      return true;
    case ZYDIS_MNEMONIC_BT:  // with a bit number in a register they reach beyond the operand
    case ZYDIS_MNEMONIC_BTC:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTS:
      return instruction.operands[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE;
    default:
      return false;
  }
}

/// Wraps, as addresses do.
int64_t Sum(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }

/// nullopt when the address has more parts than one 64-bit register, the base of fs, and a constant.
std::optional<FixedOperand> FixedOperandOf(const LoopFacts& facts, const Instruction& instruction, int operand_index) {
  const ZydisDecodedInstruction& info = instruction.info;
  if (!instruction.valid || operand_index < 0 || operand_index >= info.operand_count) return std::nullopt;
  const ZydisDecodedOperand& operand = instruction.operands[operand_index];
  if (!IsAccess(info, operand) || info.address_width != 64) return std::nullopt;
  const ZydisDecodedOperandMem& mem = operand.mem;
  if (mem.index != ZYDIS_REGISTER_NONE) return std::nullopt;
  if (mem.segment == ZYDIS_REGISTER_GS) return std::nullopt;
  const bool from_fs = mem.segment == ZYDIS_REGISTER_FS;
  if (instruction.constant >= 0 || instruction.linkage != Linkage::kNone) return std::nullopt;
  const bool on_stack = mem.base == ZYDIS_REGISTER_RSP;
  if (on_stack && from_fs) return std::nullopt;
  if (on_stack && operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) return std::nullopt;  // what push and pop move
  const HeldAddress held = facts.HeldAt(instruction, operand);
  // In a callee another register has what the callee put there.
  const bool in_copy = IsInCopy(instruction.address);
  if (in_copy && !on_stack && !held.known() && mem.base != ZYDIS_REGISTER_RIP && mem.base != ZYDIS_REGISTER_NONE) return std::nullopt;

  FixedOperand result;
  result.where.fs = from_fs;
  result.where.displacement = mem.disp.value;
  if (mem.base == ZYDIS_REGISTER_RIP) {
    result.where.displacement += static_cast<int64_t>(instruction.rip());
  } else if (held.known()) {
    result.where.base = held.base;
    result.where.displacement = Sum(result.where.displacement, held.offset);
    const bool below_stack = held.base == kRsp && result.where.displacement < 0;
    if (below_stack && facts.pass_stack > 0) return std::nullopt;
  } else if (mem.base != ZYDIS_REGISTER_NONE) {
    if (ZydisRegisterGetClass(mem.base) != ZYDIS_REGCLASS_GPR64) return std::nullopt;
    result.where.base = ZydisRegisterGetId(mem.base);
  }
  if (on_stack) {
    const int64_t pushed = facts.PushedAt(instruction);
    result.where.displacement -= pushed;
    if ((pushed > 0 || in_copy) && result.where.displacement < 0) return std::nullopt;
  }
  // A width beyond 255 bytes only has to overlap its neighbours and be refused as a slot.
  const int bytes = std::min<int>(operand.size / 8, 255);
  result.where.bytes = static_cast<uint8_t>(bytes);
  result.where.read = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
  result.where.written = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
  if (result.where.written) result.where.stored = SlotByteMask(bytes);
  result.where.instruction = instruction.address;
  result.can_be_slot = bytes >= 1 && bytes <= kSlotBytes && operand.size % 8 == 0 && !IsIrregular(instruction, operand);
  return result;
}

/// From `a` to `b`, of operands with the same base. Subtraction wraps, as addresses do.
int64_t Distance(const Slot& a, const Slot& b) {
  return static_cast<int64_t>(static_cast<uint64_t>(b.displacement) - static_cast<uint64_t>(a.displacement));
}

bool HaveSameBase(const Slot& a, const Slot& b) { return a.base == b.base && a.fs == b.fs; }

bool ByPlace(const Slot& a, const Slot& b) {
  if (a.fs != b.fs) return b.fs;
  if (a.base != b.base) return a.base < b.base;
  return a.displacement < b.displacement;
}

/// Makes `area` cover `place`, which begins in it.
void Extend(FixedOperand* area, const FixedOperand& place) {
  Slot& slot = area->where;
  const int64_t offset = Distance(slot, place.where);
  const int64_t end = std::max<int64_t>(slot.bytes, offset + place.where.bytes);
  area->can_be_slot = area->can_be_slot && place.can_be_slot && end <= kSlotBytes;
  slot.bytes = static_cast<uint8_t>(std::min<int64_t>(end, 255));
  slot.read |= place.where.read;
  slot.written |= place.where.written;
  if (offset < kSlotBytes) slot.stored |= place.where.stored << offset;
  slot.instruction = std::min(slot.instruction, place.where.instruction);
}

int Worth(const Slot& slot) { return slot.read && slot.written ? 2 : slot.written ? 1 : 0; }

}  // namespace

std::vector<Slot> FindSlots(const DecodedFunction& function, std::span<const int> blocks, const LoopFacts& facts) {
  std::vector<FixedOperand> places;
  for (int b : blocks) {
    const BasicBlock& block = function.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = function.instructions[i];
      for (int operand = 0; operand < instruction.info.operand_count; ++operand) {
        const std::optional<FixedOperand> found = FixedOperandOf(facts, instruction, operand);
        if (!found.has_value() || (found->where.base >= 0 && facts.clobbered.HasGpr(found->where.base))) continue;
        places.push_back(*found);
      }
    }
  }

  // In this order a place that overlaps an earlier one overlaps the area that ends last.
  std::stable_sort(places.begin(), places.end(),
                   [](const FixedOperand& a, const FixedOperand& b) { return ByPlace(a.where, b.where); });
  std::vector<FixedOperand> areas;
  for (const FixedOperand& place : places) {
    const auto begins_in = [&](const Slot& area) {
      const int64_t offset = Distance(area, place.where);
      return HaveSameBase(area, place.where) && offset >= 0 && offset < area.bytes;
    };
    if (!areas.empty() && begins_in(areas.back().where)) {
      Extend(&areas.back(), place);
    } else {
      areas.push_back(place);
    }
  }

  std::vector<Slot> slots;
  for (const FixedOperand& area : areas) {
    if (area.can_be_slot) slots.push_back(area.where);
  }
  if (slots.size() > kMaxSlots) {
    std::stable_sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) { return Worth(a) > Worth(b); });
    slots.resize(kMaxSlots);
    std::sort(slots.begin(), slots.end(), ByPlace);
  }
  return slots;
}

int SlotIndexOf(const LoopFacts& facts, const Instruction& instruction, int operand_index) {
  const std::optional<FixedOperand> place = FixedOperandOf(facts, instruction, operand_index);
  if (!place.has_value()) return -1;
  const auto slot = std::find_if(facts.slots.begin(), facts.slots.end(), [&](const Slot& candidate) {
    if (!HaveSameBase(candidate, place->where)) return false;
    const int64_t offset = Distance(candidate, place->where);
    return offset >= 0 && offset + place->where.bytes <= candidate.bytes;
  });
  return slot == facts.slots.end() ? -1 : static_cast<int>(slot - facts.slots.begin());
}

int OffsetInSlot(const LoopFacts& facts, int slot, const Instruction& instruction, int operand_index) {
  const Slot& area = facts.slots[static_cast<size_t>(slot)];
  return static_cast<int>(Distance(area, FixedOperandOf(facts, instruction, operand_index)->where));
}

}  // namespace tracelift::jit

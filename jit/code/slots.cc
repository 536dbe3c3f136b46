#include "jit/code/slots.h"

#include <algorithm>
#include <optional>

namespace tracelift::jit {
namespace {

/// A memory operand at `base` + constant.
struct FixedOperand {
  Slot where;  // read, written: by this operand
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

/// nullopt when the address has more parts than one 64-bit register and a constant.
std::optional<FixedOperand> FixedOperandOf(const Instruction& instruction, int operand_index) {
  const ZydisDecodedInstruction& info = instruction.info;
  if (!instruction.valid || operand_index < 0 || operand_index >= info.operand_count) return std::nullopt;
  const ZydisDecodedOperand& operand = instruction.operands[operand_index];
  if (!IsAccess(info, operand) || info.address_width != 64) return std::nullopt;
  const ZydisDecodedOperandMem& mem = operand.mem;
  if (mem.index != ZYDIS_REGISTER_NONE) return std::nullopt;
  if (mem.segment == ZYDIS_REGISTER_FS || mem.segment == ZYDIS_REGISTER_GS) return std::nullopt;

  FixedOperand result;
  result.where.displacement = mem.disp.value;
  if (mem.base == ZYDIS_REGISTER_RIP) {
    result.where.displacement += static_cast<int64_t>(instruction.next());
  } else if (mem.base != ZYDIS_REGISTER_NONE) {
    if (ZydisRegisterGetClass(mem.base) != ZYDIS_REGCLASS_GPR64) return std::nullopt;
    result.where.base = ZydisRegisterGetId(mem.base);
  }
  // A width beyond 255 bytes only has to overlap its neighbours and be refused as a slot.
  const int bytes = operand.size / 8;
  result.where.bytes = static_cast<uint8_t>(std::min(bytes, 255));
  result.where.read = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
  result.where.written = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
  result.where.instruction = instruction.address;
  const bool good_size = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16;
  result.can_be_slot = good_size && !IsIrregular(instruction, operand);
  return result;
}

bool SameBytes(const Slot& a, const Slot& b) {
  return a.base == b.base && a.displacement == b.displacement && a.bytes == b.bytes;
}

/// Of operands with the same base. Subtraction wraps, as addresses do.
bool Overlaps(const Slot& a, const Slot& b) {
  const auto distance =
      static_cast<int64_t>(static_cast<uint64_t>(b.displacement) - static_cast<uint64_t>(a.displacement));
  return distance < int64_t{a.bytes} && distance > -int64_t{b.bytes};
}

bool ByPlace(const Slot& a, const Slot& b) {
  if (a.base != b.base) return a.base < b.base;
  if (a.displacement != b.displacement) return a.displacement < b.displacement;
  return a.bytes < b.bytes;
}

int Worth(const Slot& slot) { return slot.read && slot.written ? 2 : slot.written ? 1 : 0; }

}  // namespace

std::vector<Slot> FindSlots(const DecodedFunction& function, std::span<const int> blocks, RegisterSet written) {
  std::vector<FixedOperand> places;  // one per distinct (base, displacement, size)
  for (int b : blocks) {
    const BasicBlock& block = function.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = function.instructions[i];
      for (int operand = 0; operand < instruction.info.operand_count; ++operand) {
        const std::optional<FixedOperand> found = FixedOperandOf(instruction, operand);
        if (!found.has_value() || (found->where.base >= 0 && written.HasGpr(found->where.base))) continue;
        const auto same = std::find_if(places.begin(), places.end(),
                                       [&](const FixedOperand& place) { return SameBytes(place.where, found->where); });
        if (same == places.end()) {
          places.push_back(*found);
          continue;
        }
        same->where.read |= found->where.read;
        same->where.written |= found->where.written;
        same->where.instruction = std::min(same->where.instruction, found->where.instruction);
        same->can_be_slot &= found->can_be_slot;
      }
    }
  }

  // In this order the places that overlap one follow it directly.
  std::sort(places.begin(), places.end(),
            [](const FixedOperand& a, const FixedOperand& b) { return ByPlace(a.where, b.where); });
  for (size_t i = 0; i < places.size(); ++i) {
    for (size_t j = i + 1; j < places.size() && places[j].where.base == places[i].where.base; ++j) {
      if (!Overlaps(places[i].where, places[j].where)) break;
      places[i].can_be_slot = places[j].can_be_slot = false;
    }
  }

  std::vector<Slot> slots;
  for (const FixedOperand& place : places) {
    if (place.can_be_slot) slots.push_back(place.where);
  }
  if (slots.size() > kMaxSlots) {
    std::stable_sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) { return Worth(a) > Worth(b); });
    slots.resize(kMaxSlots);
    std::sort(slots.begin(), slots.end(), ByPlace);
  }
  return slots;
}

int SlotIndexOf(const LoopFacts& facts, const Instruction& instruction, int operand_index) {
  const std::optional<FixedOperand> place = FixedOperandOf(instruction, operand_index);
  if (!place.has_value()) return -1;
  const auto slot = std::find_if(facts.slots.begin(), facts.slots.end(),
                                 [&](const Slot& candidate) { return SameBytes(candidate, place->where); });
  return slot == facts.slots.end() ? -1 : static_cast<int>(slot - facts.slots.begin());
}

}  // namespace tracelift::jit

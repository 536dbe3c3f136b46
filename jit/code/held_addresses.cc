// A forward data flow over addresses, `what a register held at the begin, and a constant`: through copies, lea,
// additions of constants, pushes, spliced calls, and stack cells that keep a pointer (unoptimised code stores each
// argument first). Where ways meet that disagree, nothing is known.
//
// It runs twice. Over the function, to find registers that hold the address of a local when the loop begins (`lea rbx,
// [rsp+16]` ahead of it); then over one pass, whose begin is the header. A store to an unknown address is taken to
// leave cells as they are: nobody has to be right here, because lifted code compares each such register with what it is
// said to hold (Translator::CheckHeldAddress), and entries compare those that were set ahead of the loop.

#include "jit/code/held_addresses.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

namespace tracelift::jit {
namespace {

constexpr int64_t kWord = 8;
constexpr Gpr kKeptByCallees[] = {kRbx, kRbp, kR12, kR13, kR14, kR15};
constexpr Gpr kScratch[] = {kRax, kRcx, kRdx, kRsi, kRdi, kR8, kR9, kR10, kR11};

using Registers = std::array<HeldAddress, kGprCount>;

HeldAddress Plus(HeldAddress address, int64_t distance) {
  if (!address.known()) return {};
  return {address.base, static_cast<int64_t>(static_cast<uint64_t>(address.offset) + static_cast<uint64_t>(distance))};
}

struct Known {
  Registers gpr;
  std::map<std::pair<int8_t, int64_t>, HeldAddress> cells;  // eight bytes in memory, by their own address
  std::vector<Registers> at_calls;                          // of the callees that control is in
  bool operator==(const Known&) const = default;

  void Forget(const RegisterSet& set) {
    for (int i = 0; i < kGprCount; ++i) {
      if (set.HasGpr(i)) gpr[i] = {};
    }
  }
  void ForgetCells(HeldAddress begin, int64_t bytes) {
    if (!begin.known()) return;
    std::erase_if(cells, [&](const auto& cell) {
      const auto& [base, offset] = cell.first;
      return base == begin.base && offset < begin.offset + bytes && begin.offset < offset + kWord;
    });
  }
  void Store(HeldAddress to, HeldAddress value) {
    ForgetCells(to, kWord);
    if (to.known() && value.known()) cells[{to.base, to.offset}] = value;
  }
  HeldAddress Load(HeldAddress from) const {
    const auto cell = cells.find({from.base, from.offset});
    return cell == cells.end() ? HeldAddress() : cell->second;
  }
};

Registers Meet(const Registers& a, const Registers& b) {
  Registers met;
  for (int i = 0; i < kGprCount; ++i) met[i] = a[i] == b[i] ? a[i] : HeldAddress();
  return met;
}

Known Meet(const Known& a, const Known& b) {
  Known met;
  if (a.at_calls.size() != b.at_calls.size()) return met;
  met.gpr = Meet(a.gpr, b.gpr);
  std::ranges::set_intersection(a.cells, b.cells, std::inserter(met.cells, met.cells.end()));
  for (size_t i = 0; i < a.at_calls.size(); ++i) met.at_calls.push_back(Meet(a.at_calls[i], b.at_calls[i]));
  return met;
}

int NumberOf(const ZydisDecodedOperand& operand) {
  const bool is_whole =
      operand.type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_GPR64;
  return is_whole ? ZydisRegisterGetId(operand.reg.value) : -1;
}

/// The register that the address of a memory operand is, but for a constant; -1 when it has more parts, or others.
int BaseOf(const Instruction& instruction, const ZydisDecodedOperand& operand) {
  if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || instruction.info.address_width != 64) return -1;
  if (operand.mem.index != ZYDIS_REGISTER_NONE || CountsFromSegment(operand.mem)) return -1;
  if (ZydisRegisterGetClass(operand.mem.base) != ZYDIS_REGCLASS_GPR64) return -1;
  return ZydisRegisterGetId(operand.mem.base);
}

HeldAddress AddressOf(const Instruction& instruction, const ZydisDecodedOperand& operand, const Known& known) {
  const int base = BaseOf(instruction, operand);
  return base < 0 ? HeldAddress() : Plus(known.gpr[base], operand.mem.disp.value);
}

/// What a 64-bit operand holds.
HeldAddress ValueOf(const Instruction& instruction, const ZydisDecodedOperand& operand, const Known& known) {
  if (const int number = NumberOf(operand); number >= 0) return known.gpr[number];
  if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.size != 64) return {};
  const HeldAddress from = AddressOf(instruction, operand, known);
  return from.known() ? known.Load(from) : HeldAddress();
}

/// What `instruction` gives its first operand, if it is 64 bits wide.
HeldAddress ResultOf(const Instruction& instruction, const Known& known) {
  const ZydisDecodedOperand* operands = instruction.operands;
  const ZydisMnemonic mnemonic = instruction.info.mnemonic;
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
      return ValueOf(instruction, operands[1], known);
    case ZYDIS_MNEMONIC_LEA:
      return AddressOf(instruction, operands[1], known);
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_SUB: {
      if (operands[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE || NumberOf(operands[0]) < 0) return {};
      const int64_t distance = operands[1].imm.value.s;
      return Plus(known.gpr[NumberOf(operands[0])], mnemonic == ZYDIS_MNEMONIC_ADD ? distance : -distance);
    }
    default:
      return {};
  }
}

void Push(HeldAddress value, Known* known) {
  known->gpr[kRsp] = Plus(known->gpr[kRsp], -kWord);
  known->Store(known->gpr[kRsp], value);
}

HeldAddress Pop(Known* known) {
  const HeldAddress value = known->gpr[kRsp].known() ? known->Load(known->gpr[kRsp]) : HeldAddress();
  known->gpr[kRsp] = Plus(known->gpr[kRsp], kWord);
  return value;
}

/// A return from a spliced callee, to registers that callees keep as they were. `clobbered`: see Step.
void Return(const Instruction& instruction, const RegisterSet& clobbered, Known* known) {
  if (known->at_calls.empty()) {
    *known = Known();
    return;
  }
  known->gpr[kRsp] = Plus(known->gpr[kRsp], kWord);
  for (Gpr gpr : kKeptByCallees) known->gpr[gpr] = known->at_calls.back()[gpr];
  known->at_calls.pop_back();
  if (instruction.linkage == Linkage::kLeaveLinked) known->Forget(LostByLinkedCall() & clobbered);
}

void Step(const Instruction& instruction, const RegisterSet& clobbered, Known* known) {
  if (instruction.linkage == Linkage::kEnter) {
    known->at_calls.push_back(known->gpr);
    return Push({}, known);
  }
  if (instruction.linkage != Linkage::kNone) return Return(instruction, clobbered, known);
  if (instruction.valid && instruction.info.meta.category == ZYDIS_CATEGORY_CALL) {
    for (Gpr gpr : kScratch) known->gpr[gpr] = {};
    return;
  }
  const ZydisDecodedOperand* operands = instruction.operands;
  const bool is_whole = instruction.valid && instruction.info.operand_width == 64;
  switch (instruction.valid ? instruction.info.mnemonic : ZYDIS_MNEMONIC_INVALID) {
    case ZYDIS_MNEMONIC_PUSH:
      if (is_whole) return Push(ValueOf(instruction, operands[0], *known), known);
      break;
    case ZYDIS_MNEMONIC_POP:
      if (const int number = NumberOf(operands[0]); is_whole && number >= 0) {
        const HeldAddress value = Pop(known);
        known->gpr[number] = value;
        return;
      }
      break;
    case ZYDIS_MNEMONIC_LEAVE:
      if (!is_whole) break;
      known->gpr[kRsp] = known->gpr[kRbp];
      known->gpr[kRbp] = Pop(known);
      return;
    default:
      break;
  }
  const HeldAddress result = instruction.valid ? ResultOf(instruction, *known) : HeldAddress();
  for (const ZydisDecodedOperand& operand : std::span(operands, instruction.info.operand_count)) {
    const bool writes = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    if (writes && operand.type == ZYDIS_OPERAND_TYPE_MEMORY)
      known->ForgetCells(AddressOf(instruction, operand, *known), operand.size / 8);
  }
  if (instruction.valid && operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY && operands[0].size == 64 && result.known()) {
    known->Store(AddressOf(instruction, operands[0], *known), result);
  }
  known->Forget(UseOf(instruction).writes);
  const int destination = instruction.info.operand_count > 0 ? NumberOf(operands[0]) : -1;
  if (destination >= 0 && result.known()) known->gpr[destination] = result;
}

/// Per block, what is known at its first instruction; nothing of blocks that are not reached. Only `inside` is walked.
std::vector<std::optional<Known>> Follow(const DecodedFunction& function, int first, const Registers& at_first,
                                         const std::vector<bool>& inside, const RegisterSet& clobbered) {
  std::vector<std::optional<Known>> before(function.blocks.size());
  before[first] = Known{at_first, {}, {}};
  std::vector<int> pending = {first};
  while (!pending.empty()) {
    const int b = pending.back();
    pending.pop_back();
    Known known = *before[b];
    const BasicBlock& block = function.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) Step(function.instructions[i], clobbered, &known);
    for (int successor : block.successors) {
      if (!inside[successor]) continue;
      std::optional<Known>& there = before[successor];
      Known met = there.has_value() ? Meet(*there, known) : known;
      if (there == met) continue;
      there = std::move(met);
      pending.push_back(successor);
    }
  }
  return before;
}

Registers Themselves() {
  Registers registers;
  for (int i = 0; i < kGprCount; ++i) registers[i] = {static_cast<int8_t>(i), 0};
  return registers;
}

/// `push rbp; mov rbp, rsp` somewhere.
bool HasFramePointer(const DecodedFunction& function) {
  const auto is = [](const Instruction& instruction, ZydisMnemonic mnemonic, int first) {
    return instruction.valid && instruction.info.mnemonic == mnemonic && NumberOf(instruction.operands[0]) == first;
  };
  const auto begins_frame = [&](const Instruction& push, const Instruction& move) {
    return !IsInCopy(push.address) && is(push, ZYDIS_MNEMONIC_PUSH, kRbp) && is(move, ZYDIS_MNEMONIC_MOV, kRbp) &&
           NumberOf(move.operands[1]) == kRsp;
  };
  return std::ranges::adjacent_find(function.instructions, begins_frame) != function.instructions.end();
}

/// Puts the address of a local into a register that the loop leaves alone. `frame`: what locals count from.
bool TakesStackAddress(const Instruction& instruction, const RegisterSet& clobbered, Gpr frame) {
  if (!instruction.valid || IsInCopy(instruction.address) || instruction.info.operand_count < 2) return false;
  const int to = NumberOf(instruction.operands[0]);
  if (to < 0 || to == kRsp || to == frame || clobbered.HasGpr(to)) return false;
  const auto is_stack = [](int number) { return number == kRsp || number == kRbp; };
  const ZydisDecodedOperand& from = instruction.operands[1];
  if (instruction.info.mnemonic == ZYDIS_MNEMONIC_LEA) return is_stack(BaseOf(instruction, from));
  return instruction.info.mnemonic == ZYDIS_MNEMONIC_MOV && is_stack(NumberOf(from));
}

/// Registers that the loop leaves alone and that hold the address of a local when it begins. Locals are counted from
/// the frame pointer where the function has one, as its own code does, else from rsp.
std::vector<SameAddress> LocalsAtHeader(const DecodedFunction& function, int header, const RegisterSet& clobbered) {
  std::vector<SameAddress> same;
  const Gpr base = !clobbered.HasGpr(kRbp) && HasFramePointer(function) ? kRbp : kRsp;
  const auto takes = [&](const Instruction& instruction) { return TakesStackAddress(instruction, clobbered, base); };
  const int first = function.BlockAt(function.bounds.begin);
  if (first < 0 || !std::ranges::any_of(function.instructions, takes)) return same;
  const std::vector<bool> everywhere(function.blocks.size(), true);
  const auto before = Follow(function, first, Themselves(), everywhere, RegisterSet::All());
  if (!before[header].has_value()) return same;
  const Registers& at = before[header]->gpr;
  for (int gpr = 0; gpr < kGprCount; ++gpr) {
    if (gpr == kRsp || gpr == base || clobbered.HasGpr(gpr) || at[gpr].base != kRsp || at[base].base != kRsp) continue;
    const int64_t offset = at[gpr].offset - at[base].offset;
    if (base == kRsp && offset < 0) continue;
    same.push_back({static_cast<int8_t>(gpr), {static_cast<int8_t>(base), offset}});
  }
  return same;
}

}  // namespace

HeldAddresses FollowAddresses(const DecodedFunction& function, std::span<const int> blocks, const LoopFacts& facts) {
  HeldAddresses held;
  held.at_header = LocalsAtHeader(function, blocks[0], facts.clobbered);
  Registers at_header = Themselves();
  for (int gpr = 0; gpr < kGprCount; ++gpr) {
    if (facts.clobbered.HasGpr(gpr)) at_header[gpr] = {};
  }
  for (const SameAddress& same : held.at_header) at_header[same.gpr] = same.address;

  // Back at the header another pass begins, with the same.
  std::vector<bool> inside(function.blocks.size(), false);
  for (int b : blocks.subspan(1)) inside[b] = true;
  const auto before = Follow(function, blocks[0], at_header, inside, facts.clobbered);
  for (int b : blocks) {
    if (!before[b].has_value()) continue;
    Known known = *before[b];
    const BasicBlock& block = function.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = function.instructions[i];
      for (int n = 0; instruction.valid && n < instruction.info.operand_count_visible; ++n) {
        const ZydisDecodedOperand& operand = instruction.operands[n];
        const int base = BaseOf(instruction, operand);
        if (operand.visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT || base < 0 || base == kRsp) continue;
        const HeldAddress& address = known.gpr[base];
        const bool is_itself = address.base == base && address.offset == 0 && !IsInCopy(instruction.address);
        if (address.known() && !is_itself) held.operands[instruction.address] = address;
      }
      Step(instruction, facts.clobbered, &known);
    }
  }
  return held;
}

}  // namespace tracelift::jit

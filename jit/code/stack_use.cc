// A forward data flow over two offsets, of rsp and of rbp as frame pointer.
//
// Of a function also, which registers hold addresses of its stack. A function that keeps an array there, read at places that only its
// data or its loop counters tell, is not followed: nobody could say whether it reads what it has written.

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "jit/code/stack_use.h"

namespace tracelift::jit {
namespace {

/// Bytes below the first stack pointer: the function's, which points to its return address, or that at a loop's header.
/// rbp: only while it is a frame pointer.
struct Offsets {
  int64_t rsp = 0;
  std::optional<int64_t> rbp;
  RegisterSet pointers;  // to the stack
  RegisterSet moving;    // of those, what was computed from another one
  bool operator==(const Offsets&) const = default;
};

constexpr int64_t kMostStack = 16 << 10;
constexpr int64_t kReturnAddress = 8;

bool IsRegister(const ZydisDecodedOperand& operand, ZydisRegister reg) {
  return operand.type == ZYDIS_OPERAND_TYPE_REGISTER && operand.reg.value == reg;
}

/// The offset of `base + displacement`.
std::optional<int64_t> OffsetOf(const Offsets& at, ZydisRegister base, int64_t displacement) {
  if (base == ZYDIS_REGISTER_RSP) return at.rsp - displacement;
  if (base == ZYDIS_REGISTER_RBP && at.rbp.has_value()) return *at.rbp - displacement;
  return std::nullopt;
}

/// The value that `instruction` gives its first operand, as an offset.
std::optional<int64_t> ResultOf(const Instruction& instruction, const Offsets& at) {
  const ZydisDecodedOperand* operands = instruction.operands;
  switch (instruction.info.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
      if (operands[1].type != ZYDIS_OPERAND_TYPE_REGISTER) return std::nullopt;
      return OffsetOf(at, operands[1].reg.value, 0);
    case ZYDIS_MNEMONIC_LEA:
      if (operands[1].mem.index != ZYDIS_REGISTER_NONE) return std::nullopt;
      return OffsetOf(at, operands[1].mem.base, operands[1].mem.disp.value);
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_SUB:
      if (operands[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE) return std::nullopt;
      return OffsetOf(at, operands[0].reg.value,
                      instruction.info.mnemonic == ZYDIS_MNEMONIC_ADD ? operands[1].imm.value.s
                                                                      : -operands[1].imm.value.s);
    default: return std::nullopt;
  }
}

/// False when the stack pointer is lost.
bool Step(const Instruction& instruction, Offsets* at) {
  switch (instruction.info.mnemonic) {
    case ZYDIS_MNEMONIC_CALL:  // comes back with both as they were
    case ZYDIS_MNEMONIC_RET: return true;
    case ZYDIS_MNEMONIC_PUSH:
      at->rsp += instruction.info.operand_width / 8;
      return instruction.info.operand_width == 64;
    case ZYDIS_MNEMONIC_POP:
      at->rsp -= instruction.info.operand_width / 8;
      if (IsRegister(instruction.operands[0], ZYDIS_REGISTER_RBP)) at->rbp.reset();
      return instruction.info.operand_width == 64 && !IsRegister(instruction.operands[0], ZYDIS_REGISTER_RSP);
    case ZYDIS_MNEMONIC_LEAVE:
      if (!at->rbp.has_value() || instruction.info.operand_width != 64) return false;
      at->rsp = *at->rbp - 8;
      at->rbp.reset();
      return true;
    default: break;
  }
  const RegisterSet writes = UseOf(instruction).writes;
  if (!writes.HasGpr(kRsp) && !writes.HasGpr(kRbp)) return true;
  const std::optional<int64_t> result = ResultOf(instruction, *at);
  if (IsRegister(instruction.operands[0], ZYDIS_REGISTER_RSP) && result.has_value()) {
    at->rsp = *result;
    return true;
  }
  if (writes.HasGpr(kRsp)) return false;
  at->rbp = IsRegister(instruction.operands[0], ZYDIS_REGISTER_RBP) ? result : std::nullopt;
  return true;
}

RegisterSet GprSet(ZydisRegister reg) {
  RegisterSet set;
  if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR64) set.AddGpr(ZydisRegisterGetId(reg));
  return set;
}

bool IsPointer(const Offsets& at, ZydisRegister reg) {
  return reg == ZYDIS_REGISTER_RSP || (reg == ZYDIS_REGISTER_RBP && at.rbp.has_value()) ||
         (GprSet(reg) & at.pointers) != RegisterSet();
}

/// A memory operand in the stack whose place is not fixed.
bool ReadsArray(const Instruction& instruction, const Offsets& at) {
  if (instruction.info.mnemonic == ZYDIS_MNEMONIC_NOP) return false;  // a longer one names memory, but reads none
  return std::any_of(instruction.operands, instruction.operands + instruction.info.operand_count_visible,
                     [&](const ZydisDecodedOperand& operand) {
                       const ZydisDecodedOperandMem& mem = operand.mem;
                       if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || mem.type == ZYDIS_MEMOP_TYPE_AGEN) return false;
                       const bool in_stack = IsPointer(at, mem.base) || IsPointer(at, mem.index);
                       const bool indexed = mem.index != ZYDIS_REGISTER_NONE && in_stack;
                       return indexed || ((GprSet(mem.base) & at.moving) != RegisterSet());
                     });
}

/// Follows addresses of the stack through registers. Before Step.
void FollowPointers(const Instruction& instruction, Offsets* at) {
  const ZydisDecodedOperand* operands = instruction.operands;
  const RegisterSet writes = UseOf(instruction).writes;
  if (operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER || instruction.info.operand_count_visible == 0) return;
  bool pointer = false, moves = false;
  const RegisterSet destination = GprSet(operands[0].reg.value);
  for (int i = 0; i < instruction.info.operand_count_visible; ++i) {
    const ZydisDecodedOperand& operand = operands[i];
    const bool read = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && read && IsPointer(*at, operand.reg.value)) {
      pointer = true;
      const bool is_moving = (GprSet(operand.reg.value) & at->moving) != RegisterSet();
      moves |= instruction.info.mnemonic != ZYDIS_MNEMONIC_MOV || is_moving;
    } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && instruction.info.mnemonic == ZYDIS_MNEMONIC_LEA) {
      const ZydisDecodedOperandMem& mem = operand.mem;
      const bool from_register = (GprSet(mem.base) & at->pointers) != RegisterSet();
      const bool from_frame = mem.index == ZYDIS_REGISTER_NONE && !from_register;
      const bool from_stack = IsPointer(*at, mem.base) || IsPointer(*at, mem.index);
      pointer |= from_stack;
      moves |= from_stack && !from_frame;
    }
  }
  at->pointers = at->pointers - writes;
  at->moving = at->moving - writes;
  const bool is_frame = operands[0].reg.value == ZYDIS_REGISTER_RSP || operands[0].reg.value == ZYDIS_REGISTER_RBP;
  const bool computes =
      instruction.info.mnemonic != ZYDIS_MNEMONIC_CMP && instruction.info.mnemonic != ZYDIS_MNEMONIC_TEST;
  if (!pointer || is_frame || !computes || (destination & writes) == RegisterSet()) return;
  at->pointers = at->pointers | destination;
  if (moves) at->moving = at->moving | destination;
}

}  // namespace

StackUse FollowStack(const DecodedFunction& function, const std::vector<bool>& passable) {
  const size_t count = function.blocks.size();
  StackUse use;
  use.after.assign(count, -1);
  use.lost.assign(count, false);
  std::vector<std::optional<Offsets>> before(count);
  std::vector<int> pending;
  // Nothing is followed from there. What was before stays: for the other blocks it says too much, never too little.
  const auto lose = [&](int block, std::string why) {
    use.lost[block] = true;
    if (use.why.empty()) use.why = std::move(why);
  };
  const auto lose_at = [&](int block, const char* why, const Instruction& instruction) {
    lose(block, fmt::format("{} at {:#x}, {}", why, instruction.address, Disassemble(instruction)));
  };
  const auto arrive = [&](int block, const Offsets& at) {
    if (!passable[block] || use.lost[block]) return;
    std::optional<Offsets>& known = before[block];
    Offsets met = known.value_or(at);
    if (met.rsp != at.rsp) {
      lose(block, fmt::format("its stack pointer differs by the way taken to {:#x}", function.blocks[block].begin));
      return;
    }
    if (met.rbp != at.rbp) met.rbp.reset();
    met.pointers = met.pointers | at.pointers;
    met.moving = met.moving | at.moving;
    if (known == met) return;
    known = met;
    pending.push_back(block);
  };
  arrive(function.BlockAt(function.bounds.begin), {});
  while (!pending.empty()) {
    const int b = pending.back();
    pending.pop_back();
    const BasicBlock& block = function.blocks[b];
    Offsets at = *before[b];
    for (int i = block.first; i < block.first + block.count && !use.lost[b]; ++i) {
      const Instruction& instruction = function.instructions[i];
      if (ReadsArray(instruction, at)) lose_at(b, "it keeps an array on its stack", instruction);
      FollowPointers(instruction, &at);
      const bool followed = Step(instruction, &at);
      if (!followed || at.rsp < 0 || at.rsp > kMostStack) lose_at(b, "its stack pointer is lost", instruction);
    }
    if (block.end_kind == BlockEnd::kReturn && at.rsp != 0) lose(b, "it returns with another stack pointer");
    if (use.lost[b]) continue;
    use.after[b] = at.rsp;
    for (int successor : block.successors) arrive(successor, at);
  }
  return use;
}

namespace {

bool IsOwnMove(const Instruction& instruction) {
  return !IsInCopy(instruction.address) && instruction.linkage == Linkage::kNone && UseOf(instruction).writes.HasGpr(kRsp);
}

Rejection LostAt(const Instruction& instruction, const std::string& why) {
  return {RejectionReason::kStackPointerChanges, OriginalAddress(instruction.address), Disassemble(instruction) + why};
}

/// In copies of callees, one in the other. They give back rbp as they found it: lifted code checks that.
struct InCallees {
  Offsets now;
  std::vector<std::optional<int64_t>> kept_rbp;
  bool operator==(const InCallees&) const = default;
};

bool Step(const Instruction& instruction, InCallees* at) {
  switch (instruction.linkage) {
    case Linkage::kNone: return Step(instruction, &at->now);
    case Linkage::kEnter:
      at->kept_rbp.push_back(at->now.rbp);
      at->now.rsp += kReturnAddress;
      return true;
    case Linkage::kLeave:
    case Linkage::kLeaveLinked:
      if (at->kept_rbp.empty()) return false;
      at->now.rbp = at->kept_rbp.back();
      at->kept_rbp.pop_back();
      at->now.rsp -= kReturnAddress;
      return true;
  }
  return false;
}

/// The first instruction of the loop itself that moves rsp; null when only calls do.
const Instruction* FirstOwnMove(const DecodedFunction& function, std::span<const int> blocks) {
  const Instruction* first = nullptr;
  for (int b : blocks) {
    for (const Instruction& instruction : std::span(function.instructions).subspan(function.blocks[b].first, function.blocks[b].count)) {
      if (IsOwnMove(instruction) && (first == nullptr || instruction.address < first->address)) first = &instruction;
    }
  }
  return first;
}

/// An operand of the function below its stack pointer: a pass that pushes overwrites what may be there, and what it left
/// there may be read after the loop.
const Instruction* FirstBelowStack(const DecodedFunction& function) {
  for (const Instruction& instruction : function.instructions) {
    if (!instruction.valid || IsInCopy(instruction.address)) continue;
    if (instruction.info.mnemonic == ZYDIS_MNEMONIC_LEA && IsRegister(instruction.operands[0], ZYDIS_REGISTER_RSP)) continue;
    const auto is_below = [](const ZydisDecodedOperand& operand) {
      return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_RSP &&
             operand.visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT && operand.mem.disp.value < 0 &&
             operand.mem.index == ZYDIS_REGISTER_NONE;
    };
    if (std::any_of(instruction.operands, instruction.operands + instruction.info.operand_count_visible, is_below)) return &instruction;
  }
  return nullptr;
}

}  // namespace

LoopStack FollowLoopStack(const DecodedFunction& function, std::span<const int> blocks) {
  LoopStack stack{std::vector<int64_t>(function.instructions.size(), 0), std::vector<int64_t>(function.blocks.size(), 0), 0, {}};
  const Instruction* own_move = FirstOwnMove(function, blocks);
  if (own_move != nullptr) {
    if (const Instruction* below = FirstBelowStack(function)) {
      stack.obstacle = LostAt(*own_move, fmt::format(", in a function that keeps data below its stack pointer ({})", Disassemble(*below)));
      return stack;
    }
  }
  std::vector<bool> inside(function.blocks.size(), false);
  for (int b : blocks) inside[b] = true;
  std::vector<std::optional<InCallees>> before(function.blocks.size());
  std::vector<int> pending;
  const auto arrive = [&](int from, int block, const InCallees& at) {
    if (!inside[block]) return;
    std::optional<InCallees>& known = before[block];
    InCallees met = known.value_or(at);
    if (met.now.rsp != at.now.rsp || met.kept_rbp.size() != at.kept_rbp.size()) {
      const BasicBlock& source = function.blocks[from];
      const Instruction& last = function.LastOf(source);
      stack.obstacle = LostAt(own_move != nullptr ? *own_move : last,
                              block == blocks[0] ? ": not undone on every way round"
                                                 : fmt::format(": not the same on every way to {:#x}", function.blocks[block].begin));
      return;
    }
    if (met.now.rbp != at.now.rbp) met.now.rbp.reset();
    for (size_t i = 0; i < met.kept_rbp.size(); ++i) {
      if (met.kept_rbp[i] != at.kept_rbp[i]) met.kept_rbp[i].reset();
    }
    if (known == met) return;
    known = met;
    pending.push_back(block);
  };
  before[blocks[0]] = InCallees();
  pending.push_back(blocks[0]);
  while (!pending.empty() && !stack.obstacle.has_value()) {
    const int b = pending.back();
    pending.pop_back();
    const BasicBlock& block = function.blocks[b];
    InCallees at = *before[b];
    const int64_t& rsp = at.now.rsp;
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = function.instructions[i];
      stack.before[i] = rsp;
      const bool followed = Step(instruction, &at);
      const bool is_far = rsp > kMostStack && IsOwnMove(instruction);
      if (!followed || rsp < 0 || is_far) {
        stack.obstacle = LostAt(instruction, !followed ? "" : is_far ? ": too far" : ": above where it was at the loop's begin");
        return stack;
      }
      stack.most = std::max(stack.most, rsp);
    }
    stack.after[b] = rsp;
    for (int successor : block.successors) arrive(b, successor, at);
  }
  return stack;
}

}  // namespace tracelift::jit

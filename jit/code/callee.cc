#include "jit/code/callee.h"

#include "jit/code/liveness.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "jit/code/natural_loops.h"
#include "jit/code/stack_use.h"

namespace tracelift::jit {
namespace {

constexpr int64_t kMostInstructions = 6000;       // of one callee with its own
constexpr int kDeepest = 8;          // calls of calls
constexpr size_t kMostFunctions = 200;  // examined for one loop
constexpr uint64_t kNearBytes = uint64_t{1} << 30;  // within which a relative operand reaches what it reached

const Instruction& LastOf(const DecodedFunction& function, const BasicBlock& block) {
  return function.instructions[block.first + block.count - 1];
}

bool IsPlainReturn(const Instruction& instruction) {
  return instruction.info.mnemonic == ZYDIS_MNEMONIC_RET && instruction.info.operand_count_visible == 0;
}

bool IsRipRelative(const Instruction& instruction) {
  return std::any_of(instruction.operands, instruction.operands + instruction.info.operand_count_visible,
                     [](const ZydisDecodedOperand& operand) {
                       return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_RIP;
                     });
}

/// Blocks reached from `start` over `edges`, through passable ones only.
std::vector<bool> Reach(const DecodedFunction& function, const std::vector<bool>& passable, std::vector<int> start,
                        std::vector<int> BasicBlock::* edges) {
  std::vector<bool> reached(function.blocks.size(), false);
  std::vector<int> pending;
  const auto arrive = [&](int b) {
    if (reached[b] || !passable[b]) return;
    reached[b] = true;
    pending.push_back(b);
  };
  for (int b : start) arrive(b);
  while (!pending.empty()) {
    const int b = pending.back();
    pending.pop_back();
    for (int next : function.blocks[b].*edges) arrive(next);
  }
  return reached;
}

}  // namespace

uint64_t CalleeCatalogue::FollowLinkage(uint64_t address) const {
  constexpr int kMostStubs = 4;
  constexpr uint8_t kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
  for (int hop = 0; hop < kMostStubs; ++hop) {
    // [endbr64] [bnd] jmp [rip+x]
    uint8_t stub[12];
    if (!reader_.Read(address, stub)) return address;
    size_t at = std::memcmp(stub, kEndbr64, sizeof(kEndbr64)) == 0 ? sizeof(kEndbr64) : 0;
    if (stub[at] == 0xf2) ++at;
    if (stub[at] != 0xff || stub[at + 1] != 0x25) return address;
    int32_t displacement = 0;
    std::memcpy(&displacement, stub + at + 2, sizeof(displacement));
    const auto target = reader_.LinkedFunction(address + at + 6 + static_cast<uint64_t>(int64_t{displacement}));
    if (!target.has_value()) return address;
    address = *target;
  }
  return address;
}

std::optional<uint64_t> CalleeCatalogue::TargetOf(const Instruction& call, bool* linked) const {
  const ZydisDecodedOperand& operand = call.operands[0];
  ZyanU64 address = 0;
  if (ZYAN_FAILED(ZydisCalcAbsoluteAddress(&call.info, &operand, OriginalAddress(call.address), &address))) {
    return std::nullopt;
  }
  if (linked != nullptr) *linked = operand.type == ZYDIS_OPERAND_TYPE_MEMORY || FollowLinkage(address) != address;
  if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return FollowLinkage(address);
  if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.base != ZYDIS_REGISTER_RIP) return std::nullopt;
  const std::optional<uint64_t> target = reader_.LinkedFunction(address);
  return target.has_value() ? std::optional(FollowLinkage(*target)) : std::nullopt;
}

bool CalleeCatalogue::IsPassable(const DecodedFunction& function, const BasicBlock& block, std::string* obstacle) const {
  if (block.end_kind == BlockEnd::kStop) return false;  // no way through anyway
  const auto fail = [&](const Instruction& instruction) {
    if (obstacle->empty()) *obstacle = fmt::format("{:#x}, {}", instruction.address, Disassemble(instruction));
    return false;
  };
  for (int i = block.first; i < block.first + block.count; ++i) {
    const Instruction& instruction = function.instructions[i];
    const bool ends_it = i + 1 == block.first + block.count &&
                         (block.end_kind == BlockEnd::kCall || (block.end_kind == BlockEnd::kReturn && IsPlainReturn(instruction)));
    if (!ends_it && !is_lifted_(instruction)) return fail(instruction);
    // What a copy cannot reach from where it will lie.
    const bool needs_nearness = instruction.callee != KnownCallee::kNone ||
                                (IsRipRelative(instruction) && instruction.constant < 0 &&
                                 instruction.info.mnemonic != ZYDIS_MNEMONIC_LEA);
    if (needs_nearness &&
        std::max(near_, instruction.address) - std::min(near_, instruction.address) > kNearBytes) {
      return fail(instruction);
    }
  }
  return block.end_kind != BlockEnd::kIndirect || fail(LastOf(function, block));
}

const Callee& CalleeCatalogue::At(uint64_t address) {
  const auto [entry, is_new] = known_.try_emplace(address);
  if (!is_new) return entry->second;
  entry->second.obstacle = "it calls itself";  // while it is being examined
  entry->second.reads = ReadByAnyCall();
  if (depth_ == kDeepest || known_.size() > kMostFunctions) {
    entry->second.obstacle = "it is behind too many calls";
    return entry->second;
  }
  ++depth_;
  Callee callee = Examine(address);
  --depth_;
  return known_[address] = std::move(callee);
}

Callee CalleeCatalogue::Examine(uint64_t address) {
  Callee callee;
  callee.reads = ReadByAnyCall();
  const std::optional<AddressRange> bounds = reader_.FunctionAround(address);
  if (!bounds.has_value()) {
    callee.obstacle = "no function bounds are known for it";
    return callee;
  }
  if (bounds->begin != address) {
    callee.obstacle = "it is entered in its middle";
    return callee;
  }
  auto code = DecodeFunction(reader_, *bounds);
  if (!code) {
    callee.obstacle = What(code.error().reason);
    return callee;
  }
  callee.code = std::move(*code);
  const DecodedFunction& function = callee.code->decoded();
  for (const BasicBlock& block : function.blocks) {
    callee.passable.push_back(IsPassable(function, block, &callee.obstacle));
  }
  FindCalls(&callee);
  FindWayThrough(&callee);
  FindReads(&callee);
  return callee;
}

void CalleeCatalogue::FindReads(Callee* callee) {
  DecodedFunction function = callee->code->decoded();
  for (const BasicBlock& block : function.blocks) {
    const Instruction& last = LastOf(function, block);
    if (last.valid && last.info.meta.category == ZYDIS_CATEGORY_CALL && last.callee == KnownCallee::kNone) {
      if (const auto target = TargetOf(last)) function.read_beyond[last.address] = At(*target).reads;
    }
    if (block.end_kind != BlockEnd::kJump && block.end_kind != BlockEnd::kBranch) continue;
    for (uint64_t target : block.targets) {
      // Into the midst of a function: its own cold part, which may read anything.
      const uint64_t entry = FollowLinkage(target);
      const bool is_function = !function.bounds.Contains(target) && At(entry).code != nullptr;
      if (is_function) function.read_beyond[target] = At(entry).reads;
    }
  }
  callee->read_beyond = function.read_beyond;
  const int entry = function.BlockAt(function.bounds.begin);
  if (entry >= 0) callee->reads = LiveIn(function)[static_cast<size_t>(entry)];
}

void CalleeCatalogue::FindCalls(Callee* callee) {
  const DecodedFunction& function = callee->code->decoded();
  for (size_t b = 0; b < function.blocks.size(); ++b) {
    const BasicBlock& block = function.blocks[b];
    const Instruction& last = LastOf(function, block);
    if (!callee->passable[b]) continue;
    const auto add = [&](uint64_t target, const char* verb) {
      const Callee& called = At(target);
      if (called.obstacle.empty()) return true;
      if (callee->obstacle.empty()) callee->obstacle = fmt::format("it {} {:#x}: {}", verb, target, called.obstacle);
      return false;
    };
    if (block.end_kind == BlockEnd::kCall && last.callee == KnownCallee::kNone) {
      const std::optional<uint64_t> target = TargetOf(last);
      if (target.has_value() && add(*target, "calls")) {
        callee->calls[static_cast<int>(b)] = *target;
      } else {
        callee->passable[b] = false;
        if (callee->obstacle.empty()) callee->obstacle = fmt::format("it calls a function that is not known at {:#x}", last.address);
      }
    }
    if (block.end_kind != BlockEnd::kJump && block.end_kind != BlockEnd::kBranch) continue;
    for (uint64_t target : block.targets) {
      if (function.bounds.Contains(target)) continue;
      const uint64_t entry = FollowLinkage(target);
      if (add(entry, "goes on in")) {
        callee->tails[target] = entry;
      } else if (block.end_kind == BlockEnd::kJump) {
        callee->passable[b] = false;
      }
    }
  }
}

/// Clears the obstacle when there is a lifted way from the entry to a return.
void CalleeCatalogue::FindWayThrough(Callee* callee) {
  const DecodedFunction& function = callee->code->decoded();
  const auto goes_to_tail = [&](const BasicBlock& block) {
    return std::any_of(block.targets.begin(), block.targets.end(),
                       [&](uint64_t target) { return callee->tails.contains(target); });
  };
  const std::vector<bool> reached =
      Reach(function, callee->passable, {function.BlockAt(function.bounds.begin)}, &BasicBlock::successors);
  std::vector<int> ends;
  for (size_t b = 0; b < function.blocks.size(); ++b) {
    const BasicBlock& block = function.blocks[b];
    if (block.end_kind == BlockEnd::kReturn || goes_to_tail(block)) ends.push_back(static_cast<int>(b));
  }
  const std::vector<bool> way = Reach(function, reached, ends, &BasicBlock::predecessors);
  if (std::find(way.begin(), way.end(), true) == way.end()) {
    if (callee->obstacle.empty()) callee->obstacle = "it does not return";
    return;
  }
  callee->obstacle.clear();
  callee->passable = way;
  std::vector<int> blocks = {function.BlockAt(function.bounds.begin)};
  for (size_t b = 0; b < function.blocks.size(); ++b) {
    if (way[b] && static_cast<int>(b) != blocks.front()) blocks.push_back(static_cast<int>(b));
  }
  const bool has_marks = std::ranges::find(function.loop_irreducible, true) != function.loop_irreducible.end();
  const auto is_entered_inside = [&](int b) { return function.IsEnteredInside(function.blocks[b]); };
  if (has_marks && (!IsReducible(function, blocks) || std::ranges::any_of(blocks, is_entered_inside))) {
    callee->obstacle = What(RejectionReason::kIrreducibleLoop);
    return;
  }
  const StackUse stack = FollowStack(function, way);
  callee->obstacle = stack.obstacle;
  callee->instructions = static_cast<int64_t>(function.instructions.size());
  for (size_t b = 0; b < function.blocks.size(); ++b) {
    if (!way[b]) continue;
    if (goes_to_tail(function.blocks[b]) && stack.after[b] != 0) {
      callee->obstacle = "it goes on in another function with another stack pointer";
    }
    for (uint64_t target : function.blocks[b].targets) {
      const auto tail = callee->tails.find(target);
      if (tail == callee->tails.end()) continue;
      callee->instructions += At(tail->second).instructions;
    }
    if (const auto call = callee->calls.find(static_cast<int>(b)); call != callee->calls.end()) {
      callee->instructions += At(call->second).instructions;
    }
  }
  if (callee->instructions > kMostInstructions) {
    callee->obstacle = fmt::format("it and its callees have {} instructions, at most {}", callee->instructions, kMostInstructions);
  }
}

}  // namespace tracelift::jit

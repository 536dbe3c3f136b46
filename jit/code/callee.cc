#include "jit/code/callee.h"

#include <fmt/format.h>

#include <algorithm>

#include "jit/code/stack_use.h"
#include "jit/code/ways_through.h"
#include "jit/linkage_stub.h"

namespace tracelift::jit {
namespace {

constexpr int64_t kMostInstructions = 20000;        // lifted, of one callee with its own
constexpr int kDeepest = 16;                        // calls of calls
constexpr size_t kMostFunctions = 200;              // examined for one loop
constexpr uint64_t kNearBytes = uint64_t{1} << 30;  // within which a relative operand reaches what it reached

constexpr const char* kTooManyCalls = "it is behind too many calls";

bool IsPlainReturn(const Instruction& instruction) {
  return instruction.info.mnemonic == ZYDIS_MNEMONIC_RET && instruction.info.operand_count_visible == 0;
}

bool IsRipRelative(const Instruction& instruction) {
  return std::any_of(instruction.operands, instruction.operands + instruction.info.operand_count_visible,
                     [](const ZydisDecodedOperand& operand) {
                       return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_RIP;
                     });
}

}  // namespace

uint64_t CalleeCatalogue::FollowLinkage(uint64_t address) const {
  constexpr int kMostStubs = 4;
  for (int hop = 0; hop < kMostStubs; ++hop) {
    const std::optional<uint64_t> pointer = PointerOfLinkageStub(reader_, address);
    const std::optional<uint64_t> target = pointer ? reader_.LinkedFunction(*pointer) : std::nullopt;
    if (!target.has_value()) return address;
    address = *target;
  }
  return address;
}

std::optional<CallTarget> CalleeCatalogue::TargetOf(const Instruction& call) const {
  const ZydisDecodedOperand& operand = call.operands[0];
  ZyanU64 address = 0;
  if (ZYAN_FAILED(ZydisCalcAbsoluteAddress(&call.info, &operand, OriginalAddress(call.address), &address))) {
    return std::nullopt;
  }
  if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
    const uint64_t target = FollowLinkage(address);
    return CallTarget{target, /*linked=*/target != address};
  }
  if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.base != ZYDIS_REGISTER_RIP) return std::nullopt;
  if (CountsFromSegment(operand.mem)) return std::nullopt;
  const std::optional<uint64_t> target = reader_.LinkedFunction(address);
  return target.has_value() ? std::optional(CallTarget{FollowLinkage(*target), /*linked=*/true}) : std::nullopt;
}

bool CalleeCatalogue::IsPassable(const DecodedFunction& function, const BasicBlock& block,
                                 std::string* obstacle) const {
  if (block.end_kind == BlockEnd::kStop) return false;  // no way through anyway
  const auto fail = [&](const Instruction& instruction) {
    if (obstacle->empty()) *obstacle = fmt::format("{:#x}, {}", instruction.address, Disassemble(instruction));
    return false;
  };
  for (int i = block.first; i < block.first + block.count; ++i) {
    const Instruction& instruction = function.instructions[i];
    const bool calls_or_returns = block.end_kind == BlockEnd::kCall ||
                                  (block.end_kind == BlockEnd::kReturn && IsPlainReturn(instruction));
    const bool ends_it = i + 1 == block.first + block.count && calls_or_returns;
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
  return block.end_kind != BlockEnd::kIndirect || fail(function.LastOf(block));
}

const Callee& CalleeCatalogue::At(uint64_t address) {
  const auto [entry, is_new] = known_.try_emplace(address);
  if (!is_new) return entry->second;
  entry->second.obstacle = "it calls itself";  // while it is being examined
  if (depth_ == kDeepest) {
    entry->second.obstacle = kTooManyCalls;
    return entry->second;
  }
  ++depth_;
  Callee callee = Examine(address);
  --depth_;
  return known_[address] = std::move(callee);
}

std::expected<std::shared_ptr<const FunctionCode>, std::string> CalleeCatalogue::FunctionAt(uint64_t address) {
  if (const auto known = decoded_.find(address); known != decoded_.end()) return known->second;
  if (decoded_.size() == kMostFunctions) return std::unexpected(kTooManyCalls);
  const auto decode = [&]() -> std::expected<std::shared_ptr<const FunctionCode>, std::string> {
    const std::optional<AddressRange> bounds = reader_.FunctionAround(address);
    if (!bounds.has_value()) return std::unexpected("no function bounds are known for it");
    if (bounds->begin != address) {
      const bool is_stub = PointerOfLinkageStub(reader_, address).has_value();
      return std::unexpected(is_stub ? "it is in another file, and was not called so far" : "it is entered in its middle");
    }
    auto code = DecodeFunction(reader_, *bounds);
    if (!code) return std::unexpected(std::string(What(code.error().reason)));
    return std::move(*code);
  };
  return decoded_.emplace(address, decode()).first->second;
}

Callee CalleeCatalogue::Examine(uint64_t address) {
  Callee callee;
  const auto code = FunctionAt(address);
  if (!code) {
    callee.obstacle = code.error();
    return callee;
  }
  callee.code = *code;
  const DecodedFunction& function = callee.code->decoded();
  std::string unlifted;
  for (const BasicBlock& block : function.blocks) {
    callee.passable.push_back(IsPassable(function, block, &unlifted));
  }
  WaysThrough ways(function, callee.passable);
  // The obstacle is what closes the last way.
  const auto closed_by = [&](std::string why) {
    if (!ways.Exist() && callee.obstacle.empty()) callee.obstacle = std::move(why);
    return !ways.Exist();
  };
  if (closed_by(unlifted.empty() ? "it does not return" : unlifted)) return callee;
  const StackUse stack = FollowStack(function, ways.blocks());
  ways.Close(stack.lost);
  if (closed_by(stack.why)) return callee;
  // Callees last: they cost more to look into.
  FindCalls(stack, closed_by, &callee, &ways);
  if (!ways.Exist()) return callee;
  callee.passable = ways.blocks();
  Measure(&callee);
  return callee;
}

void CalleeCatalogue::FindCalls(const StackUse& stack, const std::function<bool(std::string)>& closed_by, Callee* callee,
                                WaysThrough* ways) {
  const DecodedFunction& function = callee->code->decoded();
  const std::vector<WaysThrough::Exit> exits = ways->Exits();
  std::map<uint64_t, int64_t> pushed;  // where control leaves the function for each place outside: the same everywhere
  for (const WaysThrough::Exit& exit : exits) {
    if (exit.is_call) continue;
    const int64_t pushed_here = stack.after[exit.block];
    if (pushed.try_emplace(exit.target, pushed_here).first->second != pushed_here) {
      ways->CloseBlock(exit.block);
    } else if (pushed_here == 0) {
      continue;
    } else {
      ways->Close(exit);
    }
    if (closed_by("it goes on in another function with another stack pointer")) return;
  }
  for (const WaysThrough::Exit& exit : exits) {
    if (!ways->IsOpen(exit)) continue;
    const std::optional<CallTarget> target = exit.is_call ? TargetOf(function.LastOf(function.blocks[exit.block]))
                                                          : CallTarget{FollowLinkage(exit.target)};
    const Callee* called = target.has_value() ? &At(target->address) : nullptr;
    if (called != nullptr && called->obstacle.empty()) {
      if (exit.is_call) {
        callee->calls[exit.block] = *target;
      } else {
        callee->tails[exit.target] = target->address;
      }
      continue;
    }
    ways->Close(exit);
    const bool closed = called == nullptr
                            ? closed_by(fmt::format("it calls a function that is not known at {:#x}", exit.at))
                            : closed_by(fmt::format("it {} {:#x}: {}", exit.is_call ? "calls" : "goes on in",
                                                    target->address, called->obstacle));
    if (closed) return;
  }
}

/// Whether the ways found can be copied, and what that takes.
void CalleeCatalogue::Measure(Callee* callee) {
  const DecodedFunction& function = callee->code->decoded();
  const std::vector<bool>& way = callee->passable;
  std::vector<int> blocks = {function.BlockAt(function.bounds.begin)};
  for (size_t b = 0; b < function.blocks.size(); ++b) {
    if (way[b] && static_cast<int>(b) != blocks.front()) blocks.push_back(static_cast<int>(b));
  }
  if (std::ranges::any_of(blocks, [&](int b) { return function.IsEnteredInside(function.blocks[b]); })) {
    callee->obstacle = What(RejectionReason::kIrreducibleLoop);
    return;
  }
  callee->copied = static_cast<int64_t>(function.instructions.size());
  for (int b : blocks) {
    const BasicBlock& block = function.blocks[b];
    callee->own_instructions += block.count;
    const auto take = [&](uint64_t address) {
      const Callee& called = At(address);
      callee->instructions += called.instructions;
      callee->copied += called.copied;
    };
    for (uint64_t target : block.targets) {
      const auto tail = callee->tails.find(target);
      if (tail != callee->tails.end()) take(tail->second);
    }
    const auto call = callee->calls.find(b);
    if (call != callee->calls.end()) take(call->second.address);
  }
  callee->instructions += callee->own_instructions;
  if (callee->instructions > kMostInstructions) {
    callee->obstacle = fmt::format("it and its callees have {} instructions, at most {}", callee->instructions,
                                   kMostInstructions);
  }
}

RegisterSet CalleeCatalogue::ReadsOf(uint64_t address) {
  const auto [entry, is_new] = reads_.try_emplace(address, ReadByAnyCall());
  if (!is_new || depth_ == kDeepest) return entry->second;
  const auto code = FunctionAt(address);
  if (!code) return entry->second;
  ++depth_;
  const DecodedFunction& function = (*code)->decoded();
  ReadBeyond read_beyond;
  for (const BasicBlock& block : function.blocks) AddReadBeyond(function, block, &read_beyond);
  --depth_;
  const int first = function.BlockAt(function.bounds.begin);
  if (first >= 0) reads_[address] = LiveIn(function, read_beyond)[static_cast<size_t>(first)];
  return reads_[address];
}

void CalleeCatalogue::AddReadBeyond(const DecodedFunction& function, const BasicBlock& block, ReadBeyond* read_beyond) {
  const Instruction& last = function.LastOf(block);
  const bool calls = last.valid && last.info.meta.category == ZYDIS_CATEGORY_CALL;
  if (calls && last.callee == KnownCallee::kNone && last.linkage == Linkage::kNone) {
    if (const auto target = TargetOf(last)) (*read_beyond)[last.address] = ReadsOf(target->address);
  }
  if (block.end_kind != BlockEnd::kJump && block.end_kind != BlockEnd::kBranch) return;
  for (uint64_t target : block.targets) {
    if (function.BlockAt(target) >= 0) continue;
    // Into the midst of a function: its own cold part, which may read anything.
    const uint64_t entry = FollowLinkage(OriginalAddress(target));
    if (FunctionAt(entry).has_value()) (*read_beyond)[target] = ReadsOf(entry);
  }
}

}  // namespace tracelift::jit

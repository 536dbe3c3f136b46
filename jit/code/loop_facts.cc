#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "jit/code/decoded_function.h"
#include "jit/code/held_addresses.h"
#include "jit/code/natural_loops.h"
#include "jit/code/slots.h"
#include "jit/code/stack_use.h"
#include "jit/vector_math.h"

namespace tracelift::jit {
namespace {

Rejection Reject(RejectionReason reason, const Instruction& instruction) {
  return {reason, OriginalAddress(instruction.address), Disassemble(instruction)};
}

constexpr uint32_t kStatusFlags =
    ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_ZF | ZYDIS_CPUFLAG_SF | ZYDIS_CPUFLAG_OF;

/// Some way from `block` reads one of `flags` as it is there. Each flag by itself, unlike RegisterSet: `inc` leaves only
/// the carry. Not across calls and returns, which the System V ABI gives no flags.
bool MayReadFlags(const DecodedFunction& function, int block, uint32_t flags) {
  std::vector<uint32_t> asked(function.blocks.size(), 0);
  std::vector<std::pair<int, uint32_t>> pending = {{block, flags}};
  while (!pending.empty()) {
    auto [b, open] = pending.back();
    pending.pop_back();
    if ((open & ~asked[b]) == 0) continue;
    asked[b] |= open;
    const BasicBlock& at = function.blocks[b];
    for (int i = at.first; i < at.first + at.count && open != 0; ++i) {
      const Instruction& instruction = function.instructions[i];
      const ZydisAccessedFlags* accessed = instruction.info.cpu_flags;
      if (!instruction.valid || UseOf(instruction).writes == RegisterSet::All()) return true;
      if (accessed == nullptr) continue;
      if ((accessed->tested & open) != 0) return true;
      const uint32_t written = accessed->modified | accessed->set_0 | accessed->set_1 | accessed->undefined;
      // By a count of zero, or of no repetition, nothing is written.
      const ZydisInstructionCategory category = instruction.info.meta.category;
      const bool always = category != ZYDIS_CATEGORY_SHIFT && category != ZYDIS_CATEGORY_ROTATE &&
                          category != ZYDIS_CATEGORY_STRINGOP;
      if (always) open &= ~written;
    }
    const bool ends = at.end_kind == BlockEnd::kReturn || at.end_kind == BlockEnd::kCall ||
                      (at.end_kind == BlockEnd::kStop && at.targets.empty());
    if (open == 0 || ends) continue;
    // To a place that is not known.
    if (at.end_kind == BlockEnd::kIndirect || at.successors.size() < std::set(at.targets.begin(), at.targets.end()).size()) return true;
    for (int successor : at.successors) pending.emplace_back(successor, open);
  }
  return false;
}

/// Why the loop's control flow cannot be lifted, if so. Blocks without successors (returns, traps, undecodable bytes)
/// cannot lie in a loop.
std::optional<Rejection> CheckControlFlow(const DecodedFunction& function, LoopId loop, std::span<const int> blocks) {
  // Indirect jumps first: they make a loop irreducible, and are the better explanation.
  for (int b : blocks) {
    const BasicBlock& block = function.blocks[b];
    // A copy of the loop's code (jit/patch) makes a jump through a table out of comparisons.
    const bool keeps_flags = block.end_kind == BlockEnd::kTable && std::ranges::any_of(block.successors, [&](int to) {
                               return MayReadFlags(function, to, kStatusFlags);
                             });
    if (block.end_kind == BlockEnd::kIndirect || keeps_flags) {
      return Reject(RejectionReason::kIndirectBranch, function.LastOf(block));
    }
  }
  for (int b : blocks) {
    const BasicBlock& block = function.blocks[b];
    const Instruction& last = function.LastOf(block);
    if (block.end_kind != BlockEnd::kCall || last.callee != KnownCallee::kNone) continue;
    Rejection rejection = Reject(RejectionReason::kCallInLoop, last);
    const auto why = function.opaque_calls.find(last.address);
    if (why != function.opaque_calls.end()) rejection.detail += ": " + why->second;
    return rejection;
  }
  const bool entered_inside = std::ranges::any_of(blocks, [&](int b) { return function.IsEnteredInside(function.blocks[b]); });
  if (function.loop_irreducible[static_cast<size_t>(loop)] && (entered_inside || !IsReducible(function, blocks))) {
    return Reject(RejectionReason::kIrreducibleLoop, function.instructions[function.blocks[blocks[0]].first]);
  }
  return std::nullopt;
}

/// By address, with the bytes pushed there. Rejected when these differ by the way taken.
std::expected<std::map<uint64_t, int64_t>, Rejection> ExitsOf(const DecodedFunction& function, std::span<const int> blocks,
                                                              const LoopStack& stack) {
  std::map<uint64_t, int64_t> exits;
  for (int b : blocks) {
    for (uint64_t target : function.blocks[b].targets) {
      const int to = function.BlockAt(target);
      if (to >= 0 && std::find(blocks.begin(), blocks.end(), to) != blocks.end()) continue;
      const auto [exit, is_new] = exits.try_emplace(target, stack.after[b]);
      if (!is_new && exit->second != stack.after[b]) {
        Rejection rejection = Reject(RejectionReason::kStackPointerChanges, function.LastOf(function.blocks[b]));
        rejection.detail += ": what is pushed where the loop is left depends on the way taken";
        return std::unexpected(std::move(rejection));
      }
    }
  }
  return exits;
}

/// What `instruction` changes of the loop's own registers. rsp comes back on every way round (FollowLoopStack). A callee
/// gives back those that the ABI tells it to keep (lifted code checks that), whatever it does with them meanwhile.
RegisterSet ClobberedBy(const Instruction& instruction, RegisterSet writes) {
  writes.RemoveGpr(kRsp);
  if (!IsInCopy(instruction.address)) return instruction.linkage == Linkage::kNone ? writes : RegisterSet();
  for (int gpr : {kRbx, kRbp, kR12, kR13, kR14, kR15}) writes.RemoveGpr(gpr);
  return writes;
}

/// Registers lost to a call through a linkage table, or of a known function, and not written since.
struct Lost {
  RegisterSet always, sometimes;  // whichever way was taken; on some way
  bool operator==(const Lost&) const = default;
};

Lost Meet(const Lost& a, const Lost& b) { return {a.always & b.always, a.sometimes | b.sometimes}; }

/// When the header is reached again. A forward data flow over one pass.
Lost LostAtEnd(const DecodedFunction& function, std::span<const int> blocks) {
  const int header = blocks[0];
  std::map<int, Lost> lost;  // at the begin of a block; those not in it were not reached yet
  lost[header] = Lost();
  std::optional<Lost> at_end;
  std::vector<int> pending = {header};
  while (!pending.empty()) {
    const int b = pending.back();
    pending.pop_back();
    Lost now = lost[b];
    const BasicBlock& block = function.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = function.instructions[i];
      if (instruction.linkage == Linkage::kLeaveLinked) {
        now = {now.always | LostByLinkedCall(), now.sometimes | LostByLinkedCall()};
      } else if (instruction.callee != KnownCallee::kNone) {
        const RegisterSet lost_here = LostByKnownCall(instruction), writes = UseOf(instruction).writes;
        now = {(now.always - writes) | lost_here, (now.sometimes - writes) | lost_here};
        const MathFunction* function_called = MathFunctionOf(instruction.callee);
        if (function_called && function_called->is_float) now.sometimes.AddVectorLow(0);  // beside the float there may be anything
      } else {
        const RegisterSet writes = UseOf(instruction).writes;
        now = {now.always - writes, now.sometimes - writes};
      }
    }
    for (int successor : block.successors) {
      if (successor == header) {
        at_end = Meet(at_end.value_or(now), now);
        continue;
      }
      if (std::find(blocks.begin(), blocks.end(), successor) == blocks.end()) continue;
      const auto [known, is_new] = lost.try_emplace(successor, now);
      const Lost met = Meet(known->second, now);
      if (!is_new && met == known->second) continue;
      known->second = met;
      pending.push_back(successor);
    }
  }
  return at_end.value_or(Lost());
}

}  // namespace

std::expected<LoopFacts, Rejection> AnalyseLoop(const DecodedFunction& function, LoopId loop) {
  const std::vector<int> blocks = function.LiftedBlocks(loop);
  if (std::optional<Rejection> rejection = CheckControlFlow(function, loop, blocks)) {
    return std::unexpected(std::move(*rejection));
  }
  LoopFacts facts;
  facts.loop = loop;
  facts.header = function.blocks[blocks[0]].begin;
  for (int b : blocks) {
    const BasicBlock& block = function.blocks[b];
    for (int i = block.first; i < block.first + block.count; ++i) {
      const Instruction& instruction = function.instructions[i];
      const RegisterSet writes = UseOf(instruction).writes;
      if (writes == RegisterSet::All()) {  // system calls and the like
        return std::unexpected(Reject(RejectionReason::kUnsupportedInstruction, instruction));
      }
      facts.written = facts.written | writes;
      facts.clobbered = facts.clobbered | ClobberedBy(instruction, writes);
    }
  }
  LoopStack stack = FollowLoopStack(function, blocks);
  if (stack.obstacle.has_value()) return std::unexpected(std::move(*stack.obstacle));
  facts.pass_stack = stack.most;
  for (size_t i = 0; i < function.instructions.size(); ++i) {
    if (stack.before[i] != 0) facts.pushed[function.instructions[i].address] = stack.before[i];
  }
  const Lost lost = LostAtEnd(function, blocks);
  facts.live_at_header = function.live_in[blocks[0]] - lost.always;
  facts.comparable_at_header = facts.live_at_header - lost.sometimes;
  const LoopInfo& info = function.loops[static_cast<size_t>(loop)];
  const auto exits = ExitsOf(function, blocks, stack);
  if (!exits) return std::unexpected(exits.error());
  for (const auto& [exit, pushed] : *exits) {
    facts.exits.push_back(exit);
    facts.exit_stack.push_back(pushed);
    const bool inside = std::any_of(info.blocks.begin(), info.blocks.end(),
                                    [&](const AddressRange& range) { return range.Contains(exit); });
    facts.is_detour.push_back(inside || IsInCopy(exit));
  }
  HeldAddresses addresses = FollowAddresses(function, blocks, facts);
  facts.held = std::move(addresses.operands);
  facts.same_at_header = std::move(addresses.at_header);
  facts.slots = FindSlots(function, blocks, facts);
  return facts;
}

}  // namespace tracelift::jit

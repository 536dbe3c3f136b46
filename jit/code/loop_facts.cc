#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "jit/code/decoded_function.h"
#include "jit/code/slots.h"

namespace tracelift::jit {
namespace {

Rejection Reject(RejectionReason reason, const Instruction& instruction) {
  return {reason, instruction.address, Disassemble(instruction)};
}

const Instruction& LastOf(const DecodedFunction& function, const BasicBlock& block) {
  return function.instructions[block.first + block.count - 1];
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
      return Reject(RejectionReason::kIndirectBranch, LastOf(function, block));
    }
  }
  for (int b : blocks) {
    const BasicBlock& block = function.blocks[b];
    if (block.end_kind == BlockEnd::kCall && LastOf(function, block).callee == KnownCallee::kNone) return Reject(RejectionReason::kCallInLoop, LastOf(function, block));
  }
  if (function.loop_irreducible[static_cast<size_t>(loop)]) {
    return Reject(RejectionReason::kIrreducibleLoop, function.instructions[function.blocks[blocks[0]].first]);
  }
  return std::nullopt;
}

std::vector<uint64_t> ExitsOf(const DecodedFunction& function, std::span<const int> blocks) {
  std::vector<uint64_t> exits;
  for (int b : blocks) {
    for (uint64_t target : function.blocks[b].targets) {
      const int to = function.BlockAt(target);
      if (to < 0 || std::find(blocks.begin(), blocks.end(), to) == blocks.end()) exits.push_back(target);
    }
  }
  std::sort(exits.begin(), exits.end());
  exits.erase(std::unique(exits.begin(), exits.end()), exits.end());
  return exits;
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
      if (writes.HasGpr(kRsp)) {
        return std::unexpected(Reject(RejectionReason::kStackPointerChanges, instruction));
      }
      facts.written = facts.written | writes;
    }
  }
  facts.live_at_header = function.live_in[blocks[0]];
  facts.exits = ExitsOf(function, blocks);
  const LoopInfo& info = function.loops[static_cast<size_t>(loop)];
  for (uint64_t exit : facts.exits) {
    facts.is_detour.push_back(std::any_of(info.blocks.begin(), info.blocks.end(),
                                          [exit](const AddressRange& range) { return range.Contains(exit); }));
  }
  facts.slots = FindSlots(function, blocks, facts.written);
  return facts;
}

}  // namespace tracelift::jit

#include <algorithm>
#include <optional>

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

/// Why the loop's control flow cannot be lifted, if so. Blocks without successors (returns, traps, undecodable bytes)
/// cannot lie in a loop.
std::optional<Rejection> CheckControlFlow(const DecodedFunction& function, LoopId loop, std::span<const int> blocks) {
  // Indirect jumps first: they make a loop irreducible, and are the better explanation.
  for (int b : blocks) {
    const BasicBlock& block = function.blocks[b];
    if (block.end_kind == BlockEnd::kIndirect) {
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

#include "jit/code/liveness.h"

#include <algorithm>

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

/// live before = (live after - kill) | gen, over a whole block.
struct Transfer {
  RegisterSet gen, kill;
};

Transfer TransferOf(const DecodedFunction& function, const BasicBlock& block) {
  Transfer transfer;
  for (int i = block.first + block.count - 1; i >= block.first; --i) {
    const Instruction& instruction = function.instructions[i];
    RegisterUse use = UseOf(instruction);
    if (instruction.valid && instruction.info.meta.category == ZYDIS_CATEGORY_CALL)
      use.reads = use.reads | ReadByCall();
    transfer.gen = (transfer.gen - use.writes) | use.reads;
    transfer.kill = transfer.kill | use.writes;
  }
  return transfer;
}

/// Live at the end of a block because of what lies outside this function.
RegisterSet LiveBeyond(const DecodedFunction& function, const BasicBlock& block) {
  const Instruction& last = function.instructions[block.first + block.count - 1];
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
  const bool leaves = std::any_of(block.targets.begin(), block.targets.end(),
                                  [&](uint64_t target) { return function.BlockAt(target) < 0; });
  return leaves ? RegisterSet::All() : RegisterSet();
}

}  // namespace

std::vector<RegisterSet> LiveIn(const DecodedFunction& function) {
  const size_t count = function.blocks.size();
  std::vector<Transfer> transfers;
  std::vector<RegisterSet> beyond;
  for (const BasicBlock& block : function.blocks) {
    transfers.push_back(TransferOf(function, block));
    beyond.push_back(LiveBeyond(function, block));
  }
  std::vector<RegisterSet> live_in(count);
  std::vector<int> pending;
  std::vector<bool> queued(count, true);
  for (size_t b = 0; b < count; ++b) pending.push_back(static_cast<int>(b));  // taken from the back: last block first
  while (!pending.empty()) {
    const int b = pending.back();
    pending.pop_back();
    queued[b] = false;
    RegisterSet live = beyond[b];
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
  return live_in;
}

}  // namespace tracelift::jit

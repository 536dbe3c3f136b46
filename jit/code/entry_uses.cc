#include "jit/code/entry_uses.h"

#include <vector>

namespace tracelift::jit {
namespace {

// What `block` uses of the registers in *held, which still hold what they held at entry.
RegisterSet Follow(const DecodedFunction& code, const BasicBlock& block, RegisterSet* held) {
  RegisterSet used;
  for (int i = 0; i < block.count; ++i) {
    const Instruction& instruction = code.instructions[static_cast<size_t>(block.first + i)];
    const RegisterUse use = UseOf(instruction);
    if (instruction.info.mnemonic == ZYDIS_MNEMONIC_PUSH) continue;
    if (instruction.info.mnemonic == ZYDIS_MNEMONIC_POP) {
      *held = *held | use.writes;
      continue;
    }
    used = used | (use.reads & *held);
    *held = *held - use.writes;
  }
  return used;
}

}  // namespace

RegisterSet UsedFromEntry(const DecodedFunction& code, LoopId loop) {
  const std::vector<int> blocks = code.LiftedBlocks(loop);
  std::vector<bool> inside(code.blocks.size());
  for (int block : blocks) inside[static_cast<size_t>(block)] = true;
  std::vector<RegisterSet> held(code.blocks.size());
  std::vector<int> work{blocks.front()};
  held[static_cast<size_t>(blocks.front())] = RegisterSet::All();
  RegisterSet used;
  while (!work.empty()) {
    const BasicBlock& block = code.blocks[static_cast<size_t>(work.back())];
    RegisterSet after = held[static_cast<size_t>(work.back())];
    work.pop_back();
    used = used | Follow(code, block, &after);
    for (int next : block.successors) {
      RegisterSet& there = held[static_cast<size_t>(next)];
      if (!inside[static_cast<size_t>(next)] || (there | after) == there) continue;
      there = there | after;
      work.push_back(next);
    }
  }
  return used;
}

}  // namespace tracelift::jit

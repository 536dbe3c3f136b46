#include "tests/jit/code/function_invariants.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "jit/code/evex_operands.h"
#include "jit/code/vex_forms.h"

namespace tracelift::jit {
namespace {

bool Has(const std::vector<int>& items, int item) { return std::find(items.begin(), items.end(), item) != items.end(); }

std::string CheckInstructions(const DecodedFunction& f) {
  uint64_t end = f.bounds.begin;
  for (const Instruction& i : f.instructions) {
    if (i.address < end) return fmt::format("instruction {:#x} overlaps the one before", i.address);
    if (i.bytes.size() == 0 || (!i.valid && i.bytes.size() != 1)) return fmt::format("length at {:#x}", i.address);
    if (i.valid && i.info.length != i.bytes.size()) return fmt::format("bytes at {:#x}", i.address);
    end = i.next();
  }
  if (end > f.bounds.end) return "instructions beyond the end";
  return "";
}

std::string CheckBlocks(const DecodedFunction& f) {
  int next = 0;
  uint64_t end = f.bounds.begin;
  if (f.BlockAt(f.bounds.begin) != 0) return "no block at the entry";
  for (size_t b = 0; b < f.blocks.size(); ++b) {
    const BasicBlock& block = f.blocks[b];
    const std::string at = fmt::format("block {:#x}: ", block.begin);
    if (block.begin < end) return at + "overlaps the one before";
    if (block.first != next || block.count < 1) return at + "does not continue the instructions";
    next += block.count;
    end = block.end;
    if (f.instructions[block.first].address != block.begin) return at + "begin";
    if (f.instructions[next - 1].next() != block.end) return at + "end";
    for (int i = block.first; i + 1 < next; ++i) {
      if (f.instructions[i].next() != f.instructions[i + 1].address) return at + "is not contiguous";
      if (!f.instructions[i].valid) return at + "goes on after undecodable bytes";
    }
    static constexpr size_t kTargets[] = {1, 1, 2, 1, 0, 0, 0};
    const bool ran_out = block.end_kind == BlockEnd::kStop && block.targets.size() == 1;
    if (block.end_kind == BlockEnd::kTable) {
      if (block.targets.empty() || block.targets.size() != block.successors.size()) return at + "targets of a table";
      if (f.TableOf(block)->jump != f.instructions[next - 1].address) return at + "table";
    } else if (block.targets.size() != kTargets[static_cast<size_t>(block.end_kind)] && !ran_out) {
      return at + "targets";
    }
    std::set<int> expected;
    for (uint64_t target : block.targets) {
      if (f.BlockAt(target) >= 0) expected.insert(f.BlockAt(target));
    }
    if (expected != std::set<int>(block.successors.begin(), block.successors.end())) return at + "successors";
    if (expected.size() != block.successors.size()) return at + "a successor twice";
    for (int s : block.successors) {
      if (!Has(f.blocks[s].predecessors, static_cast<int>(b))) return at + "is not a predecessor of its successor";
    }
    for (int p : block.predecessors) {
      if (!Has(f.blocks[p].successors, static_cast<int>(b))) return at + "is not a successor of its predecessor";
    }
  }
  if (next != static_cast<int>(f.instructions.size())) return "instructions outside blocks";
  return "";
}

bool DominatedBy(const DecodedFunction& f, int block, int dominator) {
  while (block != dominator && block >= 0) block = f.blocks[block].immediate_dominator;
  return block == dominator;
}

std::string CheckLoops(const DecodedFunction& f) {
  if (f.loop_irreducible.size() != f.loops.size()) return "loop_irreducible has another size";
  for (size_t l = 0; l < f.loops.size(); ++l) {
    const LoopInfo& loop = f.loops[l];
    const std::string at = fmt::format("loop {:#x}: ", loop.header);
    const std::vector<int> blocks = f.LoopBlocks(static_cast<LoopId>(l));
    if (blocks.size() != loop.blocks.size() || f.blocks[blocks[0]].begin != loop.header) return at + "header";
    int instructions = 0;
    bool closed = false;
    for (int b : blocks) {
      instructions += f.blocks[b].count;
      closed |= Has(f.blocks[b].successors, blocks[0]);
      if (f.loop_irreducible[l]) continue;
      if (!DominatedBy(f, b, blocks[0])) return at + "a block is not dominated by the header";
      if (b == blocks[0]) continue;
      for (int p : f.blocks[b].predecessors) {
        if (!Has(blocks, p)) return at + "is entered elsewhere than at the header";
      }
    }
    if (!closed && !f.loop_irreducible[l]) return at + "has no back edge";
    if (instructions != loop.instruction_count) return at + "instruction_count";
    if (loop.parent == LoopId::kNone) {
      if (loop.depth != 1) return at + "depth of an outermost loop";
    } else {
      const std::vector<int> outer = f.LoopBlocks(loop.parent);
      if (outer.size() <= blocks.size()) return at + "parent is not larger";
      for (int b : blocks) {
        if (!Has(outer, b)) return at + "parent does not contain it";
      }
      if (f.loops[static_cast<size_t>(loop.parent)].depth + 1 != loop.depth) return at + "depth";
    }
  }
  for (const BasicBlock& block : f.blocks) {
    size_t smallest = f.blocks.size() + 1;
    for (const LoopInfo& loop : f.loops) {
      const bool inside = std::any_of(loop.blocks.begin(), loop.blocks.end(),
                                      [&](const AddressRange& range) { return range.begin == block.begin; });
      if (inside) smallest = std::min(smallest, loop.blocks.size());
    }
    const bool in_none = smallest > f.blocks.size();
    if (in_none != (block.innermost_loop < 0)) return fmt::format("block {:#x}: innermost_loop", block.begin);
    if (!in_none && f.loops[block.innermost_loop].blocks.size() != smallest) {
      return fmt::format("block {:#x}: innermost_loop is not the smallest", block.begin);
    }
  }
  return "";
}

/// Dominance by its definition: without the dominator, the block cannot be reached. Only without guessed entries.
std::string CheckDominators(const DecodedFunction& f) {
  const size_t count = f.blocks.size();
  const bool guessed = std::any_of(f.blocks.begin(), f.blocks.end(),
                                   [](const BasicBlock& block) { return block.end_kind == BlockEnd::kIndirect; });
  if (count > 40 || guessed) return "";
  for (size_t without = 0; without < count; ++without) {
    std::vector<bool> seen(count, false);
    std::vector<int> pending;
    if (without != 0) {
      pending.push_back(0);
      seen[0] = true;
    }
    while (!pending.empty()) {
      const int b = pending.back();
      pending.pop_back();
      for (int s : f.blocks[b].successors) {
        if (seen[s] || s == static_cast<int>(without)) continue;
        seen[s] = true;
        pending.push_back(s);
      }
    }
    for (size_t b = 0; b < count; ++b) {
      if (seen[b] == DominatedBy(f, static_cast<int>(b), static_cast<int>(without))) {
        return fmt::format("block {:#x}: dominated by {:#x}?", f.blocks[b].begin, f.blocks[without].begin);
      }
    }
  }
  return "";
}

/// vcvtsi2sd a, b, c and its like take the upper half of b only; cvtsi2sd a, b keeps that of a.
bool IgnoresLowHalf(const Instruction& instruction, int operand) {
  const int first = HasOwnDestination(instruction.info, instruction.operands) ? 1 : 0;
  if (operand != first || VectorBits(instruction.operands[first]) == 0) return false;
  switch (LegacyForm(instruction.info.mnemonic)) {
    case ZYDIS_MNEMONIC_CVTSI2SD:
    case ZYDIS_MNEMONIC_CVTSS2SD:
    case ZYDIS_MNEMONIC_SQRTSD:
    case ZYDIS_MNEMONIC_MOVSD: return true;
    default: return false;
  }
}

/// Registers that an operand of the instruction reads for certain; for vector registers their low half. Operands that
/// are only written in part keep the rest, which is not a use of it.
RegisterSet CertainReads(const Instruction& instruction) {
  if (IsEvex(instruction.info) && !IsMasked(instruction.info) && HasMaskOperand(instruction)) {
    return CertainReads(WithoutMaskOperand(instruction));
  }
  const RegisterSet reads = UseOf(instruction).reads;
  RegisterSet certain;
  const auto add = [&](ZydisRegister reg) {
    const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    const int id = ZydisRegisterGetId(whole);
    const ZydisRegisterClass kind = ZydisRegisterGetClass(whole);
    if (kind == ZYDIS_REGCLASS_GPR64 && reads.HasGpr(id)) certain.AddGpr(id);
    const bool is_vector = kind == ZYDIS_REGCLASS_XMM || kind == ZYDIS_REGCLASS_YMM || kind == ZYDIS_REGCLASS_ZMM;
    if (is_vector && reads.HasVector(id)) certain.AddVectorLow(id);
  };
  for (int i = 0; instruction.valid && i < instruction.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = instruction.operands[i];
    if (IgnoresLowHalf(instruction, i)) continue;
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && (operand.actions & ZYDIS_OPERAND_ACTION_READ) != 0) {
      add(operand.reg.value);
    } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
      if (operand.mem.base != ZYDIS_REGISTER_NONE) add(operand.mem.base);
      if (operand.mem.index != ZYDIS_REGISTER_NONE) add(operand.mem.index);
    }
  }
  if (reads.HasFlags()) certain.AddFlags();
  return certain;
}

std::string Names(RegisterSet set) {
  std::string names;
  for (int n = 0; n < kGprCount; ++n) names += set.HasGpr(n) ? fmt::format(" gpr {}", n) : "";
  for (int n = 0; n < kVectorCount; ++n) names += set.HasVector(n) ? fmt::format(" vector {}", n) : "";
  return names + (set.HasFlags() ? " flags" : "");
}

std::string CheckLiveness(const DecodedFunction& f) {
  if (f.live_in.size() != f.blocks.size()) return "live_in has another size";
  for (size_t b = 0; b < f.blocks.size(); ++b) {
    const BasicBlock& block = f.blocks[b];
    RegisterSet live;
    for (int s : block.successors) live = live | f.live_in[s];
    for (int i = block.first + block.count - 1; i >= block.first; --i) {
      live = (live - UseOf(f.instructions[i]).writes) | CertainReads(f.instructions[i]);
    }
    const RegisterSet missing = live - f.live_in[b];
    if (missing != RegisterSet()) return fmt::format("block {:#x}: live_in lacks{}", block.begin, Names(missing));
  }
  return "";
}

std::string CheckFacts(const DecodedFunction& f) {
  for (size_t l = 0; l < f.loops.size(); ++l) {
    const auto facts = AnalyseLoop(f, static_cast<LoopId>(l));
    const std::string at = fmt::format("loop {:#x}: ", f.loops[l].header);
    if (!facts.has_value()) {
      if (facts.error().address == 0 || facts.error().detail.empty()) return at + "a rejection without place";
      continue;
    }
    if (facts->slots.size() > kMaxSlots) return at + "too many slots";
    for (size_t i = 0; i < facts->slots.size(); ++i) {
      const Slot& slot = facts->slots[i];
      if (!slot.read && !slot.written) return at + "a slot without use";
      // rsp comes back, and counts as it is at the header.
      if (slot.base >= 0 && slot.base != kRsp && facts->written.HasGpr(slot.base)) return at + "a slot whose base changes";
      const Instruction* user = f.InstructionAt(slot.instruction);
      bool found = false;
      for (int operand = 0; user != nullptr && operand < user->info.operand_count; ++operand) {
        found |= SlotIndexOf(*facts, *user, operand) == static_cast<int>(i);
      }
      if (!found) return at + "SlotIndexOf does not find a slot at its instruction";
      for (size_t j = i + 1; j < facts->slots.size(); ++j) {
        const Slot& other = facts->slots[j];
        if (other.base == slot.base && other.fs == slot.fs && other.displacement < slot.displacement + slot.bytes &&
            slot.displacement < other.displacement + other.bytes) {
          return at + "slots overlap";
        }
      }
    }
    if (facts->is_detour.size() != facts->exits.size()) return at + "is_detour has another size";
    for (size_t e = 0; e < facts->exits.size(); ++e) {
      const int target = f.BlockAt(facts->exits[e]);
      const std::vector<int> lifted = f.LiftedBlocks(static_cast<LoopId>(l));
      if (target >= 0 && Has(lifted, target)) return at + "an exit leads into the lifted blocks";
      // Perhaps in the middle of an instruction.
      const bool inside = std::ranges::any_of(
          f.loops[l].blocks, [&](const AddressRange& range) { return range.Contains(facts->exits[e]); });
      if (inside != facts->is_detour[e]) return at + "an exit is a detour exactly when it stays in the loop";
    }
  }
  return "";
}

}  // namespace

std::string BrokenInvariant(const DecodedFunction& function) {
  for (const auto check : {CheckInstructions, CheckBlocks, CheckLoops, CheckDominators, CheckLiveness, CheckFacts}) {
    std::string broken = check(function);
    if (!broken.empty()) return broken;
  }
  return "";
}

}  // namespace tracelift::jit

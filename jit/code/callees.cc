#include "jit/code/callees.h"

#include <fmt/format.h>

#include <algorithm>

#include "jit/code/callee.h"

namespace tracelift::jit {
namespace {

constexpr int64_t kMostSplicedInstructions = 20000;  // to be lifted
constexpr size_t kMostCopiedInstructions = 100000;   // detours included

class Splicer {
 public:
  Splicer(const DecodedFunction& original, CalleeCatalogue* catalogue)
      : out_(std::make_unique<DecodedFunction>(original)), catalogue_(*catalogue) {}

  void Splice(LoopId loop) {
    for (int b : out_->LoopBlocks(loop)) {
      const BasicBlock& block = out_->blocks[b];
      const Instruction& last = out_->LastOf(block);
      if (block.end_kind != BlockEnd::kCall || last.callee != KnownCallee::kNone) {
        std::string obstacle;
        if (block.end_kind == BlockEnd::kIndirect || catalogue_.IsPassable(*out_, block, &obstacle)) continue;
        out_->blocks[b].passable = false;
        continue;
      }
      const std::optional<CallTarget> target = catalogue_.TargetOf(last);
      const Callee* callee = target.has_value() ? &catalogue_.At(target->address) : nullptr;
      if (callee == nullptr || !callee->obstacle.empty()) {
        out_->opaque_calls[last.address] = callee == nullptr ? "where it leads is not known" : callee->obstacle;
        opaque_.push_back(b);
      } else if (spliced_ + callee->instructions > kMostSplicedInstructions ||
                 out_->instructions.size() + static_cast<size_t>(callee->copied) > kMostCopiedInstructions) {
        out_->opaque_calls[last.address] =
            fmt::format("with it the loop would have more than {} instructions", kMostSplicedInstructions);
      } else {
        spliced_ += callee->instructions;
        Enter(b, *callee, target->linked);
      }
    }
  }

  std::unique_ptr<DecodedFunction> Finish() {
    ReadBeyond read_beyond;
    for (int b : opaque_) catalogue_.AddReadBeyond(*out_, out_->blocks[b], &read_beyond);
    for (const BasicBlock& block : out_->blocks) {
      if (IsInCopy(block.begin)) catalogue_.AddReadBeyond(*out_, block, &read_beyond);
    }
    for (BasicBlock& block : out_->blocks) {
      block.successors.clear();
      block.predecessors.clear();
    }
    LinkBlocks(out_.get());
    out_->live_in = LiveIn(*out_, read_beyond);
    return std::move(out_);
  }

 private:
  /// Turns the call that ends `block` into a jump to a copy of `callee`.
  void Enter(int block, const Callee& callee, bool linked) {
    const uint64_t return_to = out_->blocks[block].targets[0];
    const Linkage leave = linked ? Linkage::kLeaveLinked : Linkage::kLeave;
    const uint64_t entry = Copy(callee, block, return_to, leave);
    BasicBlock& caller = out_->blocks[block];
    caller.end_kind = BlockEnd::kEnter;
    caller.targets = {entry};
    out_->instructions[caller.first + caller.count - 1].linkage = Linkage::kEnter;
  }

  /// Where the copy begins. It is dominated by `from` and belongs to the loops of `from`; its returns go to `return_to`.
  uint64_t Copy(const Callee& callee, int from, uint64_t return_to, Linkage leave) {
    const DecodedFunction& code = callee.code->decoded();
    const uint64_t place = ++copies_ << kUserAddressBits;
    const int first_block = static_cast<int>(out_->blocks.size());
    const int first_loop = static_cast<int>(out_->loops.size());
    const int outer = out_->blocks[from].innermost_loop;

    for (size_t i = 0; i < code.instructions.size(); ++i) {
      Instruction& instruction = out_->instructions.emplace_back(code.instructions[i]);
      instruction.address |= place;
      if (instruction.constant >= 0) instruction.constant += static_cast<int32_t>(out_->constants.size());
    }
    out_->constants.insert(out_->constants.end(), code.constants.begin(), code.constants.end());
    const int first_instruction = static_cast<int>(out_->instructions.size() - code.instructions.size());
    for (JumpTable table : code.jump_tables) {
      table.jump |= place;
      table.read_at |= place;
      for (uint64_t& target : table.targets) target |= place;
      out_->jump_tables.push_back(std::move(table));
    }
    for (size_t b = 0; b < code.blocks.size(); ++b) {
      BasicBlock& block = out_->blocks.emplace_back(code.blocks[b]);
      block.begin |= place;
      block.end |= place;
      block.first += first_instruction;
      for (uint64_t& target : block.targets) target |= place;
      block.innermost_loop = block.innermost_loop < 0 ? outer : block.innermost_loop + first_loop;
      block.immediate_dominator = block.immediate_dominator < 0 ? from : block.immediate_dominator + first_block;
      block.passable = callee.passable[b];
      if (block.end_kind != BlockEnd::kReturn) continue;
      block.end_kind = BlockEnd::kLeave;
      block.targets = {return_to};
      out_->instructions[block.first + block.count - 1].linkage = leave;
    }
    for (size_t loop = 0; loop < code.loops.size(); ++loop) {
      LoopInfo& info = out_->loops.emplace_back(code.loops[loop]);
      info.header |= place;
      for (AddressRange& range : info.blocks) range = {range.begin | place, range.end | place};
      info.parent =
          static_cast<LoopId>(info.parent == LoopId::kNone ? outer : static_cast<int>(info.parent) + first_loop);
      if (outer >= 0) info.depth += out_->loops[static_cast<size_t>(outer)].depth;
      out_->loop_irreducible.push_back(code.loop_irreducible[loop]);
    }
    for (auto loop = static_cast<LoopId>(outer); loop != LoopId::kNone;) {
      LoopInfo& info = out_->loops[static_cast<size_t>(loop)];
      for (const BasicBlock& block : code.blocks) info.blocks.push_back({block.begin | place, block.end | place});
      info.instruction_count += static_cast<int>(callee.own_instructions);
      loop = info.parent;
    }

    for (const auto& [block, target] : callee.calls) {
      if (!callee.passable[block]) continue;
      Enter(first_block + block, catalogue_.At(target.address), target.linked);
    }
    for (const auto& [target, function] : callee.tails) {
      for (size_t b = 0; b < code.blocks.size(); ++b) {
        if (!callee.passable[b]) continue;
        const std::vector<uint64_t> targets = code.blocks[b].targets;
        for (size_t t = 0; t < targets.size(); ++t) {
          if (targets[t] != target) continue;
          const int from_block = first_block + static_cast<int>(b);
          const uint64_t entry = Copy(catalogue_.At(function), from_block, return_to, leave);
          out_->blocks[first_block + b].targets[t] = entry;
        }
      }
    }
    return code.bounds.begin | place;
  }

  std::unique_ptr<DecodedFunction> out_;
  CalleeCatalogue& catalogue_;
  std::vector<int> opaque_;  // blocks of the loop that end in a call that stays one
  int64_t spliced_ = 0;
  uint64_t copies_ = 0;
};

}  // namespace

std::shared_ptr<const FunctionCode> SpliceCallees(const CodeReader& reader, const FunctionCode& function, LoopId loop,
                                                  bool (*is_lifted)(const Instruction&)) {
  const DecodedFunction& original = function.decoded();
  CalleeCatalogue catalogue(reader, is_lifted, original.bounds.begin);
  Splicer splicer(original, &catalogue);
  splicer.Splice(loop);
  return std::make_shared<const FunctionCode>(splicer.Finish());
}

}  // namespace tracelift::jit

#include "jit/patch/native_clone.h"

#include <algorithm>
#include <map>

#include "jit/patch/relocate.h"

namespace tracelift::jit {
namespace {

constexpr uint8_t kEqual = 0x4;
constexpr uint8_t kNotZero = 0x5;

class CloneWriter {
 public:
  CloneWriter(const DecodedFunction& function, const LoopFacts& facts, uint64_t site,
              const std::vector<ApproachBlock>& approach, const EntryBlock& block, CodeWriter* writer)
      : function_(function), facts_(facts), site_(site), approach_(approach), block_(block), writer_(*writer) {
    blocks_ = function.LiftedBlocks(facts.loop);
    std::sort(blocks_.begin(), blocks_.end());
    const int header = function.BlockAt(facts.header);
    flags_live_ = function.live_in[static_cast<size_t>(header)].HasFlags();
    if (!flags_live_) counter_ = UnusedRegister(function, facts.loop, approach);
  }

  NativeClone Write() {
    for (int b : blocks_) copies_[function_.blocks[b].begin] = writer_.NewLabel();
    for (uint64_t exit : facts_.exits) exits_[exit] = writer_.NewLabel();
    pause_ = writer_.NewLabel();
    site_label_ = writer_.NewLabel();

    for (size_t i = 0; i < blocks_.size(); ++i) WriteBlock(i);
    WriteApproach();
    WriteEnds();
    NativeClone clone;
    clone.counter = counter_;
    clone.enter_site = WriteEntry(site_label_);
    clone.enter_header = WriteEntry(copies_.at(facts_.header));
    return clone;
  }

 private:
  uint64_t AddressOf(const void* field) const { return reinterpret_cast<uint64_t>(field); }

  void WriteBlock(size_t position) {
    const BasicBlock& block = function_.blocks[blocks_[position]];
    // As the original's header lies to cache lines, so does the copy's.
    if (block.begin == facts_.header) writer_.PadTo(64, block.begin);
    writer_.Bind(copies_.at(block.begin));
    const uint64_t next = position + 1 < blocks_.size() ? function_.blocks[blocks_[position + 1]].begin : uint64_t{0};
    WriteInstructions(block, block.first, next);
  }

  /// The way from the site to the header; its arrival there counts as one from inside.
  void WriteApproach() {
    for (size_t i = 0; i < approach_.size(); ++i) {
      const bool last = i + 1 == approach_.size();
      const uint64_t next = last ? uint64_t{0} : function_.blocks[approach_[i + 1].block].begin;
      if (i > 0) writer_.Bind(copies_.at(function_.blocks[approach_[i].block].begin));
      if (!last) copies_[next] = writer_.NewLabel();
      WriteInstructions(function_.blocks[approach_[i].block], approach_[i].first, next);
    }
  }

  /// From instruction `first` to the block's end. `next` is the original of what is written behind it.
  void WriteInstructions(const BasicBlock& block, int first, uint64_t next) {
    for (int i = first; i < block.first + block.count; ++i) {
      const Instruction& instruction = function_.instructions[i];
      if (instruction.address == site_) writer_.Bind(site_label_);
      if (IsDirectJump(instruction) || instruction.jumps_by_table) continue;
      if (instruction.linkage != Linkage::kNone) {
        WriteLinkage(instruction);
      } else if (!IsInCopy(instruction.address) || !RelocateFar(instruction)) {
        RelocateInstruction(instruction, &writer_);
      }
    }
    if (block.end_kind == BlockEnd::kBranch) {
      WriteBranch(function_.instructions[block.first + block.count - 1], block.targets[0], block.targets[1], next);
    } else if (block.end_kind == BlockEnd::kTable) {
      WriteTableJump(block);
    } else {
      GoTo(block.targets[0], next);
    }
  }

  /// A call pushes the address that the original pushes: whoever looks at the stack, and exits in the midst of a callee,
  /// find what they expect.
  void WriteLinkage(const Instruction& instruction) {
    if (instruction.linkage != Linkage::kEnter) {
      writer_.Bytes({0x48, 0x8d, 0x64, 0x24, 0x08});  // lea rsp, [rsp+8]
      return;
    }
    writer_.Bytes({0xff, 0x35});  // push [rip+x]
    writer_.Rel32(numbers_.try_emplace(instruction.rip(), writer_.NewLabel()).first->second);
  }

  /// What a callee finds relative to rip may lie far from here: constants get a copy, addresses become immediate.
  bool RelocateFar(const Instruction& instruction) {
    if (instruction.constant >= 0) {
      const size_t offset = instruction.info.raw.disp.offset;
      const std::span<const uint8_t> bytes(instruction.bytes.data(), instruction.bytes.size());
      const std::span<const uint8_t> rest = bytes.subspan(offset + 4);
      writer_.Bytes(bytes.first(offset));
      writer_.Rel32(constants_.try_emplace(instruction.constant, writer_.NewLabel()).first->second, static_cast<int>(rest.size()));
      writer_.Bytes(rest);
      return true;
    }
    if (instruction.info.mnemonic != ZYDIS_MNEMONIC_LEA || instruction.operands[1].mem.base != ZYDIS_REGISTER_RIP ||
        instruction.operands[0].size != 64) {
      return false;
    }
    const int reg = ZydisRegisterGetId(instruction.operands[0].reg.value);
    const uint64_t address = instruction.rip() + static_cast<uint64_t>(instruction.operands[1].mem.disp.value);
    writer_.Bytes({static_cast<uint8_t>(reg >= 8 ? 0x49 : 0x48), static_cast<uint8_t>(0xb8 | (reg & 7))});  // mov reg, imm64
    writer_.Imm32(static_cast<uint32_t>(address));
    writer_.Imm32(static_cast<uint32_t>(address >> 32));
    return true;
  }

  /// The table holds addresses of the original, so the jump becomes comparisons. Flags are free here (AnalyseLoop).
  void WriteTableJump(const BasicBlock& block) {
    const Label arrival = writer_.NewLabel();
    const auto label_at = [&](uint64_t target) { return target == facts_.header ? arrival : LabelAt(target); };
    const Instruction& jump = function_.instructions[block.first + block.count - 1];
    const ZydisDecodedOperand& operand = jump.operands[0];
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
      // cmp target, [rip+x]
      const int reg = ZydisRegisterGetId(operand.reg.value);
      for (size_t i = 0; i + 1 < block.targets.size(); ++i) {
        writer_.Bytes({static_cast<uint8_t>(reg >= 8 ? 0x4c : 0x48), 0x3b, static_cast<uint8_t>(0x05 | (reg & 7) << 3)});
        writer_.Rel32(numbers_.try_emplace(block.targets[i], writer_.NewLabel()).first->second);
        writer_.JumpIf(kEqual, label_at(block.targets[i]));
      }
      writer_.Jump(label_at(block.targets.back()));
    } else {
      // cmp index, imm32
      const int reg = ZydisRegisterGetId(operand.mem.index);
      const std::vector<uint64_t>& targets = function_.TableOf(block)->targets;
      for (size_t i = 0; i + 1 < targets.size(); ++i) {
        writer_.Bytes({static_cast<uint8_t>(reg >= 8 ? 0x49 : 0x48), 0x81, static_cast<uint8_t>(0xf8 | (reg & 7))});
        writer_.Imm32(static_cast<uint32_t>(i));
        writer_.JumpIf(kEqual, label_at(targets[i]));
      }
      writer_.Jump(label_at(targets.back()));
    }
    if (std::ranges::find(block.targets, facts_.header) == block.targets.end()) return;
    writer_.Bind(arrival);
    WriteArrival();
  }

  /// Continues at `target`, an address of the original, when `next` is the original of what is written next.
  void GoTo(uint64_t target, uint64_t next) {
    if (target == facts_.header) {
      WriteArrival();
    } else if (target != next) {
      writer_.Jump(LabelAt(target));
    }
  }

  void WriteBranch(const Instruction& branch, uint64_t taken, uint64_t fall_through, uint64_t next) {
    if (taken != facts_.header) {
      RelocateJump(branch, LabelAt(taken), &writer_);
      GoTo(fall_through, next);
      return;
    }
    if (fall_through == facts_.header) {
      // Whether taken or not. loop and the like still count: rcx must change.
      const Label after = writer_.NewLabel();
      RelocateJump(branch, after, &writer_);
      writer_.Bind(after);
      WriteArrival();
      return;
    }
    if (const int condition = ConditionOf(branch); condition >= 0) {
      const Label out = fall_through == next ? writer_.NewLabel() : LabelAt(fall_through);
      writer_.JumpIf(static_cast<uint8_t>(condition ^ 1), out);
      WriteArrival();
      if (fall_through == next) writer_.Bind(out);
      return;
    }
    const Label arrival = writer_.NewLabel();
    RelocateJump(branch, arrival, &writer_);
    writer_.Jump(LabelAt(fall_through));
    writer_.Bind(arrival);
    WriteArrival();
  }

  Label LabelAt(uint64_t target) const {
    const auto inside = copies_.find(target);
    return inside != copies_.end() ? inside->second : exits_.at(target);
  }

  /// The header is reached from inside the loop: one more pass.
  void WriteArrival() {
    const Label header = copies_.at(facts_.header);
    if (counter_ >= 0) {
      // sub counter, 1; jnz header
      writer_.Bytes(
          {static_cast<uint8_t>(counter_ >= 8 ? 0x49 : 0x48), 0x83, static_cast<uint8_t>(0xe8 | (counter_ & 7)), 0x01});
      writer_.JumpIf(kNotZero, header);
    } else if (!flags_live_) {
      writer_.RipRelative({0x48, 0x83, 0x2d}, AddressOf(&block_.passes_left), {0x01});
      writer_.JumpIf(kNotZero, header);
    } else {
      const Label more = writer_.NewLabel();
      writer_.RipRelative({0x48, 0x89, 0x05}, AddressOf(&block_.scratch));  // mov scratch, rax
      writer_.Bytes({0x9f, 0x0f, 0x90, 0xc0});                              // lahf; seto al
      writer_.RipRelative({0x48, 0x83, 0x2d}, AddressOf(&block_.passes_left), {0x01});
      writer_.JumpIf(kNotZero, more);
      WriteFlagsBack();
      writer_.Jump(pause_);
      writer_.Bind(more);
      WriteFlagsBack();
      writer_.Jump(header);
      return;
    }
    writer_.Jump(pause_);
  }

  void WriteFlagsBack() {
    writer_.Bytes({0x04, 0x7f, 0x9e});                                    // add al, 0x7f; sahf
    writer_.RipRelative({0x48, 0x8b, 0x05}, AddressOf(&block_.scratch));  // mov rax, scratch
  }

  /// Where runs end: the index is stored, then everything is saved where it came from.
  void WriteEnds() {
    const Label end = writer_.NewLabel();
    const auto write_end = [&](Label label, int32_t index, int64_t pushed) {
      writer_.Bind(label);
      if (pushed != 0) MoveRsp(pushed);
      const auto bits = static_cast<uint32_t>(index);
      writer_.RipRelative({0xc7, 0x05}, AddressOf(&block_.exit_index),
                          {static_cast<uint8_t>(bits), static_cast<uint8_t>(bits >> 8),
                           static_cast<uint8_t>(bits >> 16), static_cast<uint8_t>(bits >> 24)});
      writer_.Jump(end);
    };
    write_end(pause_, kPaused, 0);
    for (size_t i = 0; i < facts_.exits.size(); ++i) {
      write_end(exits_.at(facts_.exits[i]), static_cast<int32_t>(i), facts_.exit_stack[i]);
    }
    writer_.Bind(end);
    if (counter_ >= 0) {
      WriteMove(0x89, &block_.passes_left);
      WriteMove(0x8b, &block_.borrowed);
    }
    MoveRsp(-kRedZoneBytes - facts_.pass_stack);
    writer_.RipRelative({0xff, 0x35}, AddressOf(&block_.self));         // push
    writer_.RipRelative({0xff, 0x25}, AddressOf(&block_.native_exit));  // jmp
    for (const auto& [number, label] : numbers_) {
      writer_.Bind(label);
      writer_.Imm32(static_cast<uint32_t>(number));
      writer_.Imm32(static_cast<uint32_t>(number >> 32));
    }
    writer_.PadTo(alignof(VectorRegister));
    for (const auto& [constant, label] : constants_) {
      writer_.Bind(label);
      writer_.Bytes(function_.constants[static_cast<size_t>(constant)]);
    }
  }

  /// lea rsp, [rsp+bytes]
  void MoveRsp(int64_t bytes) {
    writer_.Bytes({0x48, 0x8d, 0xa4, 0x24});
    writer_.Imm32(static_cast<uint32_t>(bytes));
  }

  uint64_t WriteEntry(Label to) {
    const uint64_t address = writer_.here();
    MoveRsp(kTailToProgramRsp + facts_.pass_stack);
    if (counter_ >= 0) WriteMove(0x8b, &block_.passes_left);
    writer_.Jump(to);
    return address;
  }

  /// mov between the counting register and a field; opcode 0x89 stores, 0x8b loads.
  void WriteMove(uint8_t opcode, const void* field) {
    const auto rex = static_cast<uint8_t>(counter_ >= 8 ? 0x4c : 0x48);
    writer_.RipRelative({rex, opcode, static_cast<uint8_t>(0x05 | (counter_ & 7) << 3)}, AddressOf(field));
  }

  const DecodedFunction& function_;
  const LoopFacts& facts_;
  const uint64_t site_;
  const std::vector<ApproachBlock>& approach_;
  const EntryBlock& block_;
  CodeWriter& writer_;
  std::vector<int> blocks_;
  bool flags_live_ = false;
  int counter_ = -1;
  std::map<uint64_t, Label> copies_, exits_;  // by address of the original
  std::map<uint64_t, Label> numbers_;         // constants in memory, by value
  std::map<int32_t, Label> constants_;        // copies of what callees read, by index in DecodedFunction::constants
  Label pause_{}, site_label_{};
};

}  // namespace

int UnusedRegister(const DecodedFunction& function, LoopId loop, const std::vector<ApproachBlock>& approach) {
  RegisterSet used;
  used.AddGpr(kRsp);
  const auto add = [&](const BasicBlock& block) {
    for (int i = block.first; i < block.first + block.count; ++i) {
      const RegisterUse use = UseOf(function.instructions[i]);
      used = used | use.reads | use.writes;
    }
  };
  for (int b : function.LiftedBlocks(loop)) add(function.blocks[b]);
  for (const ApproachBlock& on_the_way : approach) add(function.blocks[on_the_way.block]);
  for (int reg = kGprCount - 1; reg >= 0; --reg) {
    if (!used.HasGpr(reg)) return reg;
  }
  return -1;
}

NativeClone WriteNativeClone(const DecodedFunction& function, const LoopFacts& facts, uint64_t site,
                             const std::vector<ApproachBlock>& approach, const EntryBlock& block, CodeWriter* writer) {
  return CloneWriter(function, facts, site, approach, block, writer).Write();
}

}  // namespace tracelift::jit

#include "jit/function_code.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {
namespace {

/// Index of the last element that begins at or before `address`, or -1.
template <typename T, typename Begin>
int LastAtOrBefore(const std::vector<T>& items, uint64_t address, Begin begin) {
  const auto after =
      std::upper_bound(items.begin(), items.end(), address, [&](uint64_t a, const T& item) { return a < begin(item); });
  return static_cast<int>(after - items.begin()) - 1;
}

int BlockContaining(const DecodedFunction& function, uint64_t pc) {
  const int b = LastAtOrBefore(function.blocks, pc, [](const BasicBlock& block) { return block.begin; });
  return b >= 0 && pc < function.blocks[b].end ? b : -1;
}

}  // namespace

int DecodedFunction::BlockAt(uint64_t address) const {
  const int b = LastAtOrBefore(blocks, address, [](const BasicBlock& block) { return block.begin; });
  return b >= 0 && blocks[b].begin == address ? b : -1;
}

const Instruction* DecodedFunction::InstructionAt(uint64_t address) const {
  const int i =
      LastAtOrBefore(instructions, address, [](const Instruction& instruction) { return instruction.address; });
  return i >= 0 && instructions[i].address == address ? &instructions[i] : nullptr;
}

unsigned DecodedFunction::LineOf(uint64_t address) const {
  return static_cast<unsigned>(InstructionAt(address) - instructions.data()) + 1;
}

const Instruction* DecodedFunction::InstructionOnLine(unsigned line) const {
  return line == 0 || line > instructions.size() ? nullptr : &instructions[line - 1];
}

const JumpTable* DecodedFunction::TableOf(const BasicBlock& block) const {
  if (block.end_kind != BlockEnd::kTable) return nullptr;
  const uint64_t jump = LastOf(block).address;
  return &*std::ranges::find(jump_tables, jump, &JumpTable::jump);
}

bool DecodedFunction::IsEnteredInside(const BasicBlock& block) const {
  const auto inside = std::ranges::lower_bound(entered_inside, OriginalAddress(block.begin));
  return inside != entered_inside.end() && *inside < OriginalAddress(block.end);
}

std::vector<int> DecodedFunction::LoopBlocks(LoopId loop) const {
  const LoopInfo& info = loops[static_cast<size_t>(loop)];
  std::vector<int> all = {BlockAt(info.header)};
  for (const AddressRange& range : info.blocks) {
    if (range.begin != info.header) all.push_back(BlockAt(range.begin));
  }
  return all;
}

bool DecodedFunction::CanPass(const BasicBlock& block) const {
  const Instruction& last = LastOf(block);
  return block.passable && block.end_kind != BlockEnd::kIndirect &&
         (block.end_kind != BlockEnd::kCall || last.callee != KnownCallee::kNone);
}

std::vector<bool> DecodedFunction::Reach(const std::vector<bool>& allowed, const std::vector<int>& start,
                                         std::vector<int> BasicBlock::* edges) const {
  std::vector<bool> met(blocks.size(), false);
  std::vector<int> pending;
  const auto meet = [&](int b) {
    if (!allowed[b] || met[b]) return;
    met[b] = true;
    pending.push_back(b);
  };
  for (int b : start) meet(b);
  while (!pending.empty()) {
    const int b = pending.back();
    pending.pop_back();
    for (int next : blocks[b].*edges) meet(next);
  }
  return met;
}

std::vector<int> DecodedFunction::LiftedBlocks(LoopId loop) const {
  std::vector<int> all = LoopBlocks(loop);
  const int header = all[0];
  std::vector<bool> passable(blocks.size(), false);
  for (int b : all) passable[b] = CanPass(blocks[b]);
  // Ways round: from the header, and back to it.
  const std::vector<bool> reached = Reach(passable, {header}, &BasicBlock::successors);
  const std::vector<bool> returning = Reach(reached, {header}, &BasicBlock::predecessors);
  const bool way_round = std::any_of(blocks[header].predecessors.begin(), blocks[header].predecessors.end(),
                                     [&](int b) { return returning[b]; });
  if (!passable[header] || !way_round) return all;
  std::erase_if(all, [&](int b) { return !returning[b]; });
  return all;
}

std::vector<int> DecodedFunction::Obstacles(LoopId loop) const {
  const std::vector<int> all = LoopBlocks(loop);
  std::vector<bool> inside(blocks.size(), false);
  for (int b : all) inside[b] = true;
  std::vector<int> obstacles;
  for (int b : all) {
    if (CanPass(blocks[b])) continue;
    std::vector<bool> others = inside;
    others[b] = false;
    const std::vector<bool> reached = Reach(others, {all[0]}, &BasicBlock::successors);
    const std::vector<int>& before = blocks[all[0]].predecessors;
    if (std::none_of(before.begin(), before.end(), [&](int p) { return reached[p]; })) obstacles.push_back(b);
  }
  return obstacles;
}

std::string Disassemble(const Instruction& instruction) {
  if (!instruction.valid) {
    return fmt::format("(bytes {:02x})", fmt::join(instruction.bytes.begin(), instruction.bytes.end(), " "));
  }
  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE, ZYDIS_PADDING_DISABLED);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_DISP_PADDING, ZYDIS_PADDING_DISABLED);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_IMM_PADDING, ZYDIS_PADDING_DISABLED);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_FORCE_SIZE, ZYAN_TRUE);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
  std::array<char, 256> text{};
  ZydisFormatterFormatInstruction(&formatter, &instruction.info, instruction.operands,
                                  instruction.info.operand_count_visible, text.data(), text.size(),
                                  OriginalAddress(instruction.address),
                                  nullptr);
  return text.data();
}

FunctionCode::FunctionCode(std::unique_ptr<const DecodedFunction> decoded) : decoded_(std::move(decoded)) {}
FunctionCode::~FunctionCode() = default;

AddressRange FunctionCode::bounds() const { return decoded_->bounds; }
const std::vector<LoopInfo>& FunctionCode::loops() const { return decoded_->loops; }
uint64_t FunctionCode::code_hash() const { return decoded_->code_hash; }

LoopId FunctionCode::InnermostLoopAt(uint64_t pc) const {
  const int block = BlockContaining(*decoded_, pc);
  return block < 0 ? LoopId::kNone : static_cast<LoopId>(decoded_->blocks[block].innermost_loop);
}

std::vector<LoopId> FunctionCode::LoopAndParents(LoopId loop) const {
  std::vector<LoopId> result;
  for (; loop != LoopId::kNone; loop = decoded_->loops[static_cast<size_t>(loop)].parent) result.push_back(loop);
  return result;
}

}  // namespace tracelift::jit

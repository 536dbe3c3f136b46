#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <set>

#include "jit/code/dominators.h"
#include "jit/code/jump_table.h"
#include "jit/code/liveness.h"
#include "jit/code/natural_loops.h"
#include "jit/code/reachable_code.h"
#include "jit/function_code.h"

namespace tracelift::jit {
namespace {

std::vector<Instruction> DecodeInstructions(std::span<const uint8_t> code, uint64_t begin,
                                            const ReachableCode& reachable) {
  const ZydisDecoder decoder = MakeDecoder();
  std::vector<Instruction> instructions;
  instructions.reserve(reachable.instruction_count);
  for (size_t offset = 0; offset < code.size(); ++offset) {
    const ByteKind kind = reachable.bytes[offset];
    if (kind != ByteKind::kStart && kind != ByteKind::kUndecodable) continue;
    Instruction& instruction = instructions.emplace_back();
    instruction.address = begin + offset;
    size_t length = 1;
    if (kind == ByteKind::kStart) {
      // It decoded before, from the same bytes.
      ZydisDecoderContext context;
      ZydisDecoderDecodeInstruction(&decoder, &context, code.data() + offset, code.size() - offset, &instruction.info);
      ZydisDecoderDecodeOperands(&decoder, &context, &instruction.info, instruction.operands,
                                 instruction.info.operand_count);
      instruction.valid = true;
      length = instruction.info.length;
    }
    instruction.bytes = InstructionBytes(code.subspan(offset, length));
  }
  return instructions;
}

void FinishBlock(const Instruction& last, BasicBlock* block) {
  block->end = last.next();
  if (!last.valid || last.never_returns) {
    block->end_kind = BlockEnd::kStop;
    return;
  }
  block->end_kind = ControlFlowOf(last.info);
  const uint64_t target = last.next() + static_cast<uint64_t>(last.info.raw.imm[0].value.s);
  switch (block->end_kind) {
    case BlockEnd::kFallThrough:
    case BlockEnd::kCall:
      block->targets = {last.next()};
      break;
    case BlockEnd::kJump:
      block->targets = {target};
      break;
    case BlockEnd::kBranch:
      block->targets = {target, last.next()};
      break;
    case BlockEnd::kReturn:
    case BlockEnd::kIndirect:
    case BlockEnd::kTable:
    case BlockEnd::kEnter:
    case BlockEnd::kLeave:
    case BlockEnd::kStop:
      break;
  }
}

/// Cuts the instructions into blocks: at leaders, after branches, and where the next instruction is not adjacent.
void BuildBlocks(const ReachableCode& reachable, DecodedFunction* function) {
  const std::vector<Instruction>& instructions = function->instructions;
  for (size_t i = 0; i < instructions.size();) {
    BasicBlock block;
    block.begin = instructions[i].address;
    block.first = static_cast<int>(i);
    while (true) {
      const Instruction& last = instructions[i++];
      const bool ends = !last.valid || ControlFlowOf(last.info) != BlockEnd::kFallThrough;
      if (ends || i == instructions.size() || instructions[i].address != last.next() ||
          reachable.leader[last.next() - function->bounds.begin]) {
        FinishBlock(last, &block);
        break;
      }
    }
    block.count = static_cast<int>(i) - block.first;
    function->blocks.push_back(std::move(block));
  }
}

/// Gives the blocks that jump through known tables their targets.
void ApplyTables(DecodedFunction* function) {
  for (const JumpTable& table : function->jump_tables) {
    for (BasicBlock& block : function->blocks) {
      Instruction& last = function->instructions[block.first + block.count - 1];
      if (last.address != table.jump) continue;
      last.jumps_by_table = true;
      block.end_kind = BlockEnd::kTable;
      block.targets = table.targets;
      std::ranges::sort(block.targets);
      block.targets.erase(std::unique(block.targets.begin(), block.targets.end()), block.targets.end());
    }
  }
}

KnownCallee CalleeOf(const CodeReader& reader, const Instruction& call) {
  const ZydisDecodedOperand& target = call.operands[0];
  ZyanU64 address = 0;
  if (ZYAN_FAILED(ZydisCalcAbsoluteAddress(&call.info, &target, call.address, &address))) return KnownCallee::kNone;
  if (target.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return reader.CalleeAt(address);
  if (CountsFromSegment(target.mem)) return KnownCallee::kNone;
  return target.mem.base == ZYDIS_REGISTER_RIP ? reader.CalleeThrough(address) : KnownCallee::kNone;
}

/// Keeps the bytes of a RIP-relative operand that never changes.
void KeepConstant(const CodeReader& reader, Instruction* instruction, std::vector<ConstantBytes>* constants) {
  for (int i = 0; i < instruction->info.operand_count_visible; ++i) {
    const ZydisDecodedOperand& operand = instruction->operands[i];
    const size_t bytes = operand.size / 8;
    ZyanU64 address = 0;
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM ||
        operand.mem.base != ZYDIS_REGISTER_RIP || CountsFromSegment(operand.mem) || operand.actions != ZYDIS_OPERAND_ACTION_READ || bytes == 0 ||
        bytes > sizeof(ConstantBytes) ||
        ZYAN_FAILED(ZydisCalcAbsoluteAddress(&instruction->info, &operand, instruction->address, &address)) ||
        !reader.IsConstant(address, bytes)) {
      continue;
    }
    ConstantBytes value{};
    if (!reader.Read(address, {value.data(), bytes})) continue;
    instruction->constant = static_cast<int32_t>(constants->size());
    constants->push_back(value);
    return;
  }
}

/// Instructions, blocks and edges, as far as the tables known lead.
std::unique_ptr<DecodedFunction> MakeBlocks(const CodeReader& reader, std::span<const uint8_t> code, AddressRange bounds,
                                            const ReachableCode& reachable, std::vector<JumpTable> tables) {
  auto function = std::make_unique<DecodedFunction>();
  function->bounds = bounds;
  function->jump_tables = std::move(tables);
  function->instructions = DecodeInstructions(code, bounds.begin, reachable);
  for (Instruction& instruction : function->instructions) {
    if (!instruction.valid) continue;
    if (instruction.info.meta.category == ZYDIS_CATEGORY_CALL) {
      instruction.callee = CalleeOf(reader, instruction);
      instruction.never_returns = CallNeverReturns(reader, instruction.info, instruction.next());
    }
    KeepConstant(reader, &instruction, &function->constants);
  }
  BuildBlocks(reachable, function.get());
  ApplyTables(function.get());
  LinkBlocks(function.get());
  return function;
}

constexpr int kMostRounds = 50;  // of finding jump tables: each table leads to further ones

/// The end of a block that leads where no program can be; such addresses would be taken for copies of callees. Damaged
/// code jumps so far, and code at low addresses.
const Instruction* JumpOutOfUserSpace(const DecodedFunction& function) {
  for (const BasicBlock& block : function.blocks) {
    if (std::ranges::any_of(block.targets, IsInCopy)) return &function.LastOf(block);
  }
  return nullptr;
}

uint64_t HashOf(std::span<const uint8_t> code, const std::vector<JumpTable>& tables) {
  uint64_t hash = XXH3_64bits(code.data(), code.size());
  for (const JumpTable& table : tables) {
    hash = XXH3_64bits_withSeed(table.targets.data(), table.targets.size() * sizeof(uint64_t), hash);
  }
  return hash;
}

}  // namespace

void LinkBlocks(DecodedFunction* function) {
  for (size_t b = 0; b < function->blocks.size(); ++b) {
    BasicBlock& block = function->blocks[b];
    for (uint64_t target : block.targets) {
      const int successor = function->BlockAt(target);
      if (successor < 0) continue;
      // A branch to the next instruction has one successor, however it is taken.
      if (std::find(block.successors.begin(), block.successors.end(), successor) != block.successors.end()) continue;
      block.successors.push_back(successor);
      function->blocks[successor].predecessors.push_back(static_cast<int>(b));
    }
    // Code that runs off the end of the function, or into the middle of another instruction, goes no further here.
    if (block.end_kind == BlockEnd::kFallThrough && block.successors.empty()) block.end_kind = BlockEnd::kStop;
  }
}

std::expected<std::shared_ptr<const FunctionCode>, Rejection> DecodeFunction(const CodeReader& reader,
                                                                             AddressRange bounds) {
  if (bounds.end <= bounds.begin) {
    return std::unexpected(Rejection{RejectionReason::kUnreadableCode, bounds.begin, "an empty range"});
  }
  if (IsInCopy(bounds.end - 1)) {
    return std::unexpected(Rejection{RejectionReason::kUnreadableCode, bounds.begin, "outside of user space"});
  }
  if (bounds.size() > kMaxFunctionBytes) {
    return std::unexpected(Rejection{RejectionReason::kFunctionTooLarge, bounds.begin,
                                     fmt::format("{} bytes, at most {}", bounds.size(), kMaxFunctionBytes)});
  }
  std::vector<uint8_t> code(bounds.size());
  if (!reader.Read(bounds.begin, code)) {
    return std::unexpected(
        Rejection{RejectionReason::kUnreadableCode, bounds.begin, fmt::format("{} bytes", bounds.size())});
  }

  // Tables lead to code with further tables; and to code that shows that what was taken for one is none, which then is
  // never tried again. So this ends.
  std::vector<JumpTable> tables;
  std::set<uint64_t> disproved;  // jumps
  std::expected<ReachableCode, Rejection> reachable;
  std::unique_ptr<DecodedFunction> function;
  int round = 0;
  for (Guesses guesses = Guesses::kByIndirectJumps;; ++round) {
    reachable = FindReachableCode(code, bounds.begin, tables, &reader);
    if (!reachable.has_value()) return std::unexpected(std::move(reachable.error()));
    function = MakeBlocks(reader, code, bounds, *reachable, tables);
    std::vector<JumpTable> proven = FindJumpTables(reader, *function, *reachable, guesses);
    if (round >= kMostRounds) proven.clear();
    for (const JumpTable& table : tables) {
      if (std::ranges::find(proven, table) == proven.end()) disproved.insert(table.jump);
    }
    std::erase_if(proven, [&](const JumpTable& table) { return disproved.contains(table.jump); });
    if (proven == tables && (guesses == Guesses::kUnknownEntries || reachable->guessed.empty())) break;
    // The last word is that of a round that trusts nothing.
    guesses = proven == tables ? Guesses::kUnknownEntries : Guesses::kByIndirectJumps;
    tables = std::move(proven);
  }
  function->code_hash = HashOf(code, tables);
  if (const Instruction* jump = JumpOutOfUserSpace(*function)) {
    return std::unexpected(Rejection{RejectionReason::kUnsupportedInstruction, jump->address, Disassemble(*jump)});
  }
  // Blocks are final from here on; what follows only adds facts about them.

  const FlowGraph graph = MakeFlowGraph(*function, *reachable);
  const std::vector<int> dominators = ImmediateDominators(graph);
  for (size_t b = 0; b < function->blocks.size(); ++b) {
    function->blocks[b].immediate_dominator =
        dominators[b] < static_cast<int>(function->blocks.size()) ? dominators[b] : -1;
  }
  for (uint32_t offset : reachable->entered_inside) function->entered_inside.push_back(bounds.begin + offset);
  std::ranges::sort(function->entered_inside);
  FindLoops(graph, dominators, *reachable, function.get());
  function->live_in = LiveIn(*function, {});

  // Control flow that reads as garbage hides the loops behind it; without any loop that is the reason to report.
  if (function->loops.empty() && reachable->has_undecodable) {
    const auto bad = std::find_if(function->instructions.begin(), function->instructions.end(),
                                  [](const Instruction& instruction) { return !instruction.valid; });
    return std::unexpected(Rejection{RejectionReason::kUndecodableInstruction, bad->address, Disassemble(*bad)});
  }
  return std::make_shared<const FunctionCode>(std::move(function));
}

}  // namespace tracelift::jit

#include <fmt/format.h>
#include <xxhash.h>

#include "jit/code/dominators.h"
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
  if (!last.valid) {
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

KnownCallee CalleeOf(const CodeReader& reader, const Instruction& call) {
  const ZydisDecodedOperand& target = call.operands[0];
  ZyanU64 address = 0;
  if (ZYAN_FAILED(ZydisCalcAbsoluteAddress(&call.info, &target, call.address, &address))) return KnownCallee::kNone;
  if (target.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return reader.CalleeAt(address);
  return target.mem.base == ZYDIS_REGISTER_RIP ? reader.CalleeThrough(address) : KnownCallee::kNone;
}

}  // namespace

std::expected<std::shared_ptr<const FunctionCode>, Rejection> DecodeFunction(const CodeReader& reader,
                                                                             AddressRange bounds) {
  if (bounds.end <= bounds.begin) {
    return std::unexpected(Rejection{RejectionReason::kUnreadableCode, bounds.begin, "an empty range"});
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

  std::expected<ReachableCode, Rejection> reachable = FindReachableCode(code, bounds.begin);
  if (!reachable.has_value()) return std::unexpected(std::move(reachable.error()));

  auto function = std::make_unique<DecodedFunction>();
  function->bounds = bounds;
  function->code_hash = XXH3_64bits(code.data(), code.size());
  function->instructions = DecodeInstructions(code, bounds.begin, *reachable);
  for (Instruction& instruction : function->instructions) {
    if (instruction.valid && instruction.info.meta.category == ZYDIS_CATEGORY_CALL) {
      instruction.callee = CalleeOf(reader, instruction);
    }
  }
  BuildBlocks(*reachable, function.get());
  LinkBlocks(function.get());
  // Blocks are final from here on; what follows only adds facts about them.

  const FlowGraph graph = MakeFlowGraph(*function, *reachable);
  const std::vector<int> dominators = ImmediateDominators(graph);
  for (size_t b = 0; b < function->blocks.size(); ++b) {
    function->blocks[b].immediate_dominator =
        dominators[b] < static_cast<int>(function->blocks.size()) ? dominators[b] : -1;
  }
  FindLoops(graph, dominators, *reachable, function.get());
  function->live_in = LiveIn(*function);

  // Control flow that reads as garbage hides the loops behind it; without any loop that is the reason to report.
  if (function->loops.empty() && reachable->has_undecodable) {
    const auto bad = std::find_if(function->instructions.begin(), function->instructions.end(),
                                  [](const Instruction& instruction) { return !instruction.valid; });
    return std::unexpected(Rejection{RejectionReason::kUndecodableInstruction, bad->address, Disassemble(*bad)});
  }
  return std::make_shared<const FunctionCode>(std::move(function));
}

}  // namespace tracelift::jit

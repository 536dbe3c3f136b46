#include "jit/loop_coverage.h"

#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <memory>
#include <set>

#include "jit/code/callees.h"
#include "jit/code/float_use.h"
#include "jit/lift/lifter.h"

namespace tracelift::jit {
namespace {

/// Where loops are lifted to; made when the first one is. What one function leaves behind in LLVM's tables goes with
/// it.
class Workshop {
 public:
  std::optional<Rejection> WhyNotLifted(const DecodedFunction& code, const LoopFacts& facts) {
    if (module_ == nullptr) module_ = std::make_unique<llvm::Module>("coverage", context_);
    LiftOptions options;
    options.live_at_pause = facts.live_at_header;
    auto lifted = LiftLoop(*module_, code, facts, options, "loop");
    if (!lifted) return lifted.error();
    std::string problem;
    llvm::raw_string_ostream stream(problem);
    const bool is_broken = llvm::verifyFunction(**lifted, &stream);
    (*lifted)->eraseFromParent();
    if (is_broken) return Rejection{RejectionReason::kCompilerFailed, facts.header, problem};
    return std::nullopt;
  }

 private:
  llvm::LLVMContext context_;
  std::unique_ptr<llvm::Module> module_;
};

template <typename Visit>
void ForEachInstruction(const DecodedFunction& code, std::span<const int> blocks, Visit visit) {
  for (int block : blocks) {
    for (int i = 0; i < code.blocks[block].count; ++i) visit(code.instructions[code.blocks[block].first + i]);
  }
}

std::vector<std::string> UnliftedForms(const DecodedFunction& code, LoopId loop, const Rejection& rejection) {
  std::set<std::string> forms;
  ForEachInstruction(code, code.LiftedBlocks(loop), [&](const Instruction& instruction) {
    // The one rejected counts even when only translating it found out.
    if (!IsSupported(instruction) || instruction.address == rejection.address) forms.insert(FormOf(instruction));
  });
  return {forms.begin(), forms.end()};
}

/// What stands in every way round says more than what comes first: an error message may call anything.
Rejection MostTelling(const DecodedFunction& code, LoopId loop, const Rejection& first) {
  for (int b : code.Obstacles(loop)) {
    const BasicBlock& block = code.blocks[b];
    const Instruction& last = code.LastOf(block);
    for (int i = block.first; i < block.first + block.count - 1; ++i) {
      const Instruction& instruction = code.instructions[i];
      if (IsSupported(instruction)) continue;
      return {RejectionReason::kUnsupportedInstruction, OriginalAddress(instruction.address), Disassemble(instruction)};
    }
    if (block.end_kind == BlockEnd::kCall && last.callee == KnownCallee::kNone) {
      const auto why = code.opaque_calls.find(last.address);
      return {RejectionReason::kCallInLoop, OriginalAddress(last.address),
              Disassemble(last) + (why != code.opaque_calls.end() ? ": " + why->second : "")};
    }
    if (block.end_kind == BlockEnd::kIndirect) {
      return {RejectionReason::kIndirectBranch, OriginalAddress(last.address), Disassemble(last)};
    }
    if (!IsSupported(last)) {
      return {RejectionReason::kUnsupportedInstruction, OriginalAddress(last.address), Disassemble(last)};
    }
  }
  return first;
}

std::optional<Rejection> WhyNot(const DecodedFunction& code, LoopId loop, Workshop* workshop) {
  const auto facts = AnalyseLoop(code, loop);
  if (!facts) return MostTelling(code, loop, facts.error());
  // LLVM is bothered only with loops that have a chance.
  std::optional<Rejection> rejection;
  ForEachInstruction(code, code.LiftedBlocks(loop), [&](const Instruction& instruction) {
    if (rejection.has_value() || IsSupported(instruction)) return;
    rejection = Rejection{RejectionReason::kUnsupportedInstruction, instruction.address, Disassemble(instruction)};
  });
  return rejection.has_value() ? rejection : workshop->WhyNotLifted(code, *facts);
}

FloatUse FloatUseOfLoop(const DecodedFunction& code, LoopId loop) {
  FloatUse use = FloatUse::kNone;
  ForEachInstruction(code, code.LoopBlocks(loop),
                     [&](const Instruction& instruction) { use = std::max(use, FloatUseOf(instruction)); });
  return use;
}

bool UsesX87(const DecodedFunction& code, LoopId loop) {
  bool uses = false;
  ForEachInstruction(code, code.LoopBlocks(loop), [&](const Instruction& instruction) {
    uses |= instruction.valid && instruction.info.meta.category == ZYDIS_CATEGORY_X87_ALU;
  });
  return uses;
}

}  // namespace

std::vector<LoopCoverage> CoverLoops(const CodeReader& reader, const FunctionCode& function, bool innermost_only) {
  const DecodedFunction& code = function.decoded();
  std::vector<bool> is_innermost(code.loops.size(), true);
  for (const LoopInfo& loop : code.loops) {
    if (loop.parent != LoopId::kNone) is_innermost[static_cast<size_t>(loop.parent)] = false;
  }
  if (code.loops.empty()) return {};
  Workshop workshop;
  std::vector<LoopCoverage> covered;
  for (size_t i = 0; i < code.loops.size(); ++i) {
    if (innermost_only && !is_innermost[i]) continue;
    const auto id = static_cast<LoopId>(i);
    LoopCoverage& loop = covered.emplace_back();
    loop.header = code.loops[i].header;
    loop.depth = code.loops[i].depth;
    loop.is_innermost = is_innermost[i];
    loop.instruction_count = code.loops[i].instruction_count;
    loop.float_use = FloatUseOfLoop(code, id);
    loop.uses_x87 = UsesX87(code, id);
    loop.rejection = WhyNot(code, id, &workshop);
    if (!loop.rejection.has_value()) continue;
    // With what it calls, and without what it need not pass.
    const auto spliced = SpliceCallees(reader, function, id, &IsSupported);
    loop.rejection = WhyNot(spliced->decoded(), id, &workshop);
    if (loop.rejection.has_value() && loop.rejection->reason == RejectionReason::kUnsupportedInstruction) {
      loop.unlifted = UnliftedForms(spliced->decoded(), id, *loop.rejection);
    }
  }
  return covered;
}

}  // namespace tracelift::jit

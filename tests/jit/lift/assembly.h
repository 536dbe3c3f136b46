// Assembly text to code in this process, and LLVM set up for tests. Includes LLVM: only for the harness's own files.
#pragma once

#include <llvm/ExecutionEngine/Orc/LLJIT.h>

#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

struct AssembledCode {
  uint64_t begin = 0, end = 0;
};

/// A JIT for this CPU, its code generator at O0 or O2. Null with `failure` set when LLVM cannot make one.
std::unique_ptr<llvm::orc::LLJIT> MakeJit(bool optimise, std::string* failure);

/// Runs a pass pipeline in LLVM's text form ("default<O2>", "sroa,instcombine") over a module.
void RunPasses(llvm::Module& module, const std::string& pipeline);

/// Snippets (snippet.h) assembled by LLVM and loaded; each is followed by a jump to the native exit and some data.
class Assembly {
 public:
  Assembly(const std::vector<std::string>& texts, std::string* failure);
  const std::vector<AssembledCode>& codes() const { return codes_; }

 private:
  std::unique_ptr<llvm::orc::LLJIT> jit_;
  std::vector<AssembledCode> codes_;
};

/// The code as a function of its own.
std::expected<std::shared_ptr<const FunctionCode>, Rejection> DecodeCode(const AssembledCode& code);
/// The same with a jump back to its begin after it.
std::expected<std::shared_ptr<const FunctionCode>, Rejection> DecodeEndlessLoop(const AssembledCode& code);

/// The loop whose header is the first instruction, or kNone.
LoopId FirstLoop(const FunctionCode& function);

}  // namespace tracelift::jit

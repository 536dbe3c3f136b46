// Lifted IR run by LLVM's interpreter: a reader of the IR that shares no pass and no code generator with compiled code.
// Includes LLVM: only for the harness's own files.
#pragma once

#include <llvm/IR/Module.h>

#include <map>
#include <memory>
#include <string>

#include "jit/machine_state.h"

namespace llvm {
class ExecutionEngine;
}

namespace tracelift::jit {

class InterpretedModule {
 public:
  /// The context must live longer. `failure` is set when there is no interpreter.
  InterpretedModule(std::unique_ptr<llvm::Module> module, std::string* failure);
  ~InterpretedModule();

  /// What in function `name` the interpreter does not know; "" when it can be run.
  std::string Unknown(const std::string& name) const;
  /// Calls a function of LiftLoop's signature, which must be known.
  int32_t Run(const std::string& name, const MachineState* in, MachineState* out, int64_t count, uint32_t* flags) const;

 private:
  std::map<std::string, std::string> unknown_;  // by function
  std::unique_ptr<llvm::ExecutionEngine> engine_;
};

}  // namespace tracelift::jit

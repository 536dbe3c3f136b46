#include "jit/lift/codegen_options.h"

#include <llvm/Support/CommandLine.h>

namespace tracelift::jit {

bool DisableUnsoundPasses() {
  llvm::StringMap<llvm::cl::Option*>& options = llvm::cl::getRegisteredOptions();
  const auto found = options.find("fixup-byte-word-insts");
  if (found == options.end()) return false;
  static_cast<llvm::cl::opt<bool>*>(found->second)->setValue(false);
  return true;
}

}  // namespace tracelift::jit

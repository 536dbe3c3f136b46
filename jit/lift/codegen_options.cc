#include "jit/lift/codegen_options.h"

#include <llvm/Support/CommandLine.h>

namespace tracelift::jit {
namespace {

bool Set(llvm::StringRef option, bool value) {
  llvm::StringMap<llvm::cl::Option*>& options = llvm::cl::getRegisteredOptions();
  const auto found = options.find(option);
  if (found == options.end()) return false;
  static_cast<llvm::cl::opt<bool>*>(found->second)->setValue(value);
  return true;
}

}  // namespace

bool DisableUnsoundPasses() { return Set("fixup-byte-word-insts", false); }

bool DisableSlowPasses() { return Set("disable-lsr", true); }

}  // namespace tracelift::jit

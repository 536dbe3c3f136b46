#include "tests/jit/fuzz/lift_target.h"

#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>

#include "jit/lift/lifter.h"

namespace tracelift::jit {

struct LiftTarget::Context {
  llvm::LLVMContext llvm;
  int uses = 0;
};

LiftTarget::LiftTarget() = default;
LiftTarget::~LiftTarget() = default;

std::string LiftTarget::Lift(const DecodedFunction& function, const LoopFacts& facts) {
  constexpr int kUses = 500;  // constants and types stay in a context as long as it lives
  if (context_ == nullptr || ++context_->uses > kUses) context_ = std::make_unique<Context>();
  llvm::Module module("fuzz", context_->llvm);
  LiftOptions options;
  options.live_at_pause = facts.live_at_header;
  auto lifted = LiftLoop(module, function, facts, options, "lifted");
  if (!lifted) {
    ++rejected_;
    const Rejection& rejection = lifted.error();
    const bool has_place = function.bounds.Contains(rejection.address) && !rejection.detail.empty();
    return has_place ? "" : "a rejection without place: " + Describe(rejection);
  }
  ++lifted_;
  std::string problem;
  llvm::raw_string_ostream stream(problem);
  return llvm::verifyModule(module, &stream) ? "lifted IR is not valid: " + problem : "";
}

}  // namespace tracelift::jit

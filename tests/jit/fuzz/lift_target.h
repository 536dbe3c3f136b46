// The lifter as a target of the fuzzer. Hides LLVM.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

class LiftTarget {
 public:
  LiftTarget();
  ~LiftTarget();

  /// Lifts the loop. What is wrong with the IR that comes out, or with a rejection; "" when nothing is.
  std::string Lift(const DecodedFunction& function, const LoopFacts& facts);

  uint64_t lifted() const { return lifted_; }
  uint64_t rejected() const { return rejected_; }

 private:
  struct Context;
  std::unique_ptr<Context> context_;
  uint64_t lifted_ = 0, rejected_ = 0;
};

}  // namespace tracelift::jit

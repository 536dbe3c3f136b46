// What relaxed math has done to a region's code, for reports and for comparing its results. Private to jit/emit.
#pragma once

#include <llvm/IR/Module.h>

#include <span>
#include <string>
#include <vector>

#include "jit/artifact.h"
#include "jit/emit/loop_shape.h"

namespace tracelift::jit {

/// Of code that is ready for code generation: each way in which floats come out differently, in words.
std::vector<std::string> RelaxationsOf(const llvm::Module& module, std::span<const Reduction> reductions);

/// What of the state at the end can be compared, of lifted code before MakeChunkFunction: how close other floats than what loops sum up
/// should be, only their use can tell.
struct ComparableFloats {
  std::vector<uint8_t> slots;  // Artifact::float_slots
  RegisterSet sums;            // vector registers that hold sums
};
ComparableFloats ComparableFloatsOf(llvm::Function& function, const LoopShape& shape, size_t slots);

}  // namespace tracelift::jit

// Loops that run until a pointer *equals* its bound hide their trip count from LLVM when the step is not one: the
// bound might be missed. Where the footprint's evaluation vouches for an exact division, the exit can count instead.
// Private to jit/emit.
#pragma once

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>

#include <vector>

namespace tracelift::jit {

/// Rewrites the exit of each of these loops, whose count is an exact quotient (CountOf), to a counter from zero. Sound
/// only for entries whose Evaluate has found the division exact (LoopDim::must_divide).
void CountExits(const std::vector<llvm::Loop*>& loops, llvm::ScalarEvolution& evolution);

}  // namespace tracelift::jit

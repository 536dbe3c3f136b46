// Turns LLVM's scalar evolution of a lifted loop nest into a FootprintProgram. Private to jit/emit.
#pragma once

#include <expected>

#include "jit/emit/loop_shape.h"
#include "jit/footprint.h"

namespace tracelift::jit {

/// The trip count of the loop and every memory access of the program in it. Addresses that are not expressions over
/// entry registers, slots and loop counters reject with kIndirectAddress.
/// `dividing` receives the inner loops whose count is an exact quotient that every evaluation verifies (CountExits).
std::expected<FootprintProgram, Rejection> FootprintOf(const LoopShape& shape, llvm::LoopInfo& loops,
                                                       llvm::ScalarEvolution& evolution, const LoopFacts& facts,
                                                       const DecodedFunction& code,
                                                       std::vector<llvm::Loop*>* dividing);

}  // namespace tracelift::jit

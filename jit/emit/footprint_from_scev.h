// Turns LLVM's scalar evolution of a lifted loop nest into a FootprintProgram. Private to jit/emit.
#pragma once

#include <expected>

#include "jit/emit/loop_shape.h"
#include "jit/emit/table_reads.h"
#include "jit/footprint.h"

namespace tracelift::jit {

/// The loops of a nest in the order of FootprintProgram::loops.
std::vector<const llvm::Loop*> NestOf(const llvm::Loop* outer);

/// The trip count of the loop and every memory access of the program in it. Addresses that are not expressions over
/// entry registers, slots and loop counters reject with kIndirectAddress.
/// Reads of constant tables are left out of it and appended to `table_reads`.
/// `dividing` receives the inner loops whose count is an exact quotient that every evaluation verifies (CountExits).
std::expected<FootprintProgram, Rejection> FootprintOf(const LoopShape& shape, llvm::LoopInfo& loops,
                                                       llvm::ScalarEvolution& evolution, const LoopFacts& facts,
                                                       const DecodedFunction& code, const CodeReader& reader,
                                                       std::vector<llvm::Loop*>* dividing,
                                                       std::vector<TableRead>* table_reads);

}  // namespace tracelift::jit

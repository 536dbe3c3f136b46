// Turns LLVM's scalar evolution of a lifted loop nest into a FootprintProgram. Private to jit/emit.
#pragma once

#include <expected>

#include "jit/emit/loop_shape.h"
#include "jit/emit/table_reads.h"
#include "jit/footprint.h"

namespace tracelift::jit {

struct AccessBy {
  llvm::Instruction* instruction;
  int access;  // in FootprintProgram::accesses; several instructions may share one
};

/// The loops of a nest in the order of FootprintProgram::loops.
std::vector<const llvm::Loop*> NestOf(const llvm::Loop* outer);

/// The trip count of the loop and every memory access of the program in it. Addresses that are not expressions over
/// entry registers, slots and loop counters reject with kIndirectAddress.
/// Reads of constant tables are left out of it and appended to `table_reads`.
/// Of `observed`, only the bases of modules matter.
/// `accesses_by` receives who makes which access; an instruction may make two.
/// `dividing` receives the inner loops whose count is an exact quotient that every evaluation verifies (CountExits).
std::expected<FootprintProgram, Rejection> FootprintOf(const LoopShape& shape, llvm::LoopInfo& loops,
                                                       llvm::ScalarEvolution& evolution, const LoopFacts& facts,
                                                       const DecodedFunction& code, const CodeReader& reader,
                                                       const MachineState& observed,
                                                       std::vector<llvm::Loop*>* dividing,
                                                       std::vector<TableRead>* table_reads,
                                                       std::vector<AccessBy>* accesses_by);

}  // namespace tracelift::jit

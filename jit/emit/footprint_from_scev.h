// Turns LLVM's scalar evolution of a lifted loop nest into a FootprintProgram. Private to jit/emit.
#pragma once

#include <expected>

#include "jit/emit/loop_shape.h"
#include "jit/emit/table_reads.h"
#include "jit/emit/window_reads.h"
#include "jit/footprint.h"

namespace tracelift::jit {

struct AccessBy {
  llvm::Instruction* instruction;
  int access;  // in FootprintProgram::accesses; several instructions may share one
  uint32_t offset = 0;  // of what it touches in the access
};

/// The loops of a nest in the order of FootprintProgram::loops.
std::vector<const llvm::Loop*> NestOf(const llvm::Loop* outer);

struct LoopFootprint {
  FootprintProgram program;
  std::vector<llvm::Loop*> dividing;    // inner loops whose count is an exact quotient that every evaluation verifies (CountExits)
  std::vector<AccessBy> accesses_by;    // who makes which access; an instruction may make two
  std::vector<TableRead> table_reads;   // no accesses: of constant tables
  std::vector<WindowRead> window_reads; // no accesses: at addresses that data decide
  bool has_endless_reads = false;       // reads whose reach nobody knows are accesses: every entry will be declined
};

/// The trip count of the loop and every memory access of the program in it. Reads at addresses that are not expressions over
/// entry registers, slots and loop counters of which the end is known are window reads where `windows_allowed`; other such
/// accesses reject with kIndirectAddress.
/// Of `observed`, only the bases of modules matter.
std::expected<LoopFootprint, Rejection> FootprintOf(const LoopShape& shape, llvm::LoopInfo& loops,
                                                    llvm::ScalarEvolution& evolution, const LoopFacts& facts,
                                                    const DecodedFunction& code, const CodeReader& reader,
                                                    const MachineState& observed, bool windows_allowed);

}  // namespace tracelift::jit

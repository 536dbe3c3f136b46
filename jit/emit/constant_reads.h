// Reads of tables that no pass and nobody else can change, at addresses that are known. Private to jit/emit.
#pragma once

#include "jit/code_reader.h"
#include "jit/machine_state.h"
#include "jit/module_bases.h"

namespace llvm {
class Loop;
class ScalarEvolution;
}  // namespace llvm

namespace tracelift::jit {

/// Makes constants of them. Where the table is known through a register, that it is the same table is a fact checked at
/// entry (RelyOn). True when anything changed: simplify again then.
bool FoldConstantReads(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const CodeReader& reader,
                       const ModuleBases& modules, const MachineState& observed);

}  // namespace tracelift::jit

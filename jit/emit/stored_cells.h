// Memory that passes write at addresses which no pass changes, and which only analysis finds: the elements of a small
// array on the stack, once the loops over it are unrolled. The lifter only sees slots that are named by a register and
// a constant; these become slots here. Private to jit/emit.
#pragma once

#include <vector>

#include "jit/code/decoded_function.h"
#include "jit/code_reader.h"
#include "jit/machine_state.h"
#include "jit/slot.h"

namespace llvm {
class Loop;
class ScalarEvolution;
}  // namespace llvm

namespace tracelift::jit {

/// Appends such memory to the slots in `facts` as written ones and makes variables of it, which start with the state at
/// entry and go to the state behind the passes. A slot that is the same memory is it; `in_memory` tells which of those
/// found before were lifted as memory. Where others overlap, nothing is changed but that their indices are added to
/// `in_memory`: lift again. (That nothing else meets it is checked at each entry, as for all slots. As memory, it would
/// meet itself.) True when anything changed: simplify again then.
bool MakeStoredCellsSlots(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const DecodedFunction& code,
                          const CodeReader& reader, LoopFacts* facts, std::vector<size_t>* in_memory,
                          MachineState* observed);

}  // namespace tracelift::jit

// Loads in a loop whose address no pass changes, but which reach it through memory: `v->size` of unoptimised code, where
// v lies on the stack. The lifter only sees slots that are named by a register and a constant; these become slots here.
#pragma once

#include <vector>

#include "jit/code_reader.h"
#include "jit/machine_state.h"
#include "jit/slot.h"

namespace llvm {
class Loop;
class ScalarEvolution;
}  // namespace llvm

namespace tracelift::jit {

/// Appends such loads to `slots` and makes the function read them from the state at entry, where nothing in the loop
/// stores to the same address. (That no other store meets them is checked at each entry, as for all slots.) Fills their
/// values in `observed` as far as `reader` knows them now. True when anything changed: simplify again then.
bool MakeEntryLoadsSlots(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const CodeReader& reader,
                         std::vector<Slot>* slots, MachineState* observed);

}  // namespace tracelift::jit

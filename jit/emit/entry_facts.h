// Facts about the state at entry that a chunk relies on: `beta is zero`, `this register holds what that slot holds`.
// They are found where the state seen makes a loop simple that is not so in general, and checked by the chunk function
// before its first pass (kFlagUnlike), so a wrong guess costs a declined entry.
#pragma once

#include "jit/machine_state.h"

namespace llvm {
class Function;
class Instruction;
class Loop;
class ScalarEvolution;
class Value;
}  // namespace llvm

namespace tracelift::jit {

/// States, before `where` (ahead of the loop), that the chunk relies on `fact`, an i1. Simplification keeps it.
void RelyOn(llvm::Value* fact, llvm::Instruction* where);

/// Turns all facts into one check at `before`, ahead of the loop: unless they hold, the function sets kFlagUnlike and
/// returns with nothing done. False when there are none.
bool CheckFacts(llvm::Function& function, llvm::Instruction* before);

/// Relies on what the observed state decides: conditions inside `loop` that only depend on the state at entry become
/// constants, and values that are set again inside the loop to what they were become invariant. True when anything
/// changed: simplify again then.
bool RelyOnObservedState(llvm::Loop& loop, const MachineState& observed);

/// Relies on the steps of the variables of `loop` that only depend on the state at entry (the width of a row) being what
/// they were, which become constants. False when one is left that is none.
bool RelyOnSteps(llvm::Loop& loop, llvm::ScalarEvolution& evolution, const MachineState& observed);

/// Relies on factors that are 1 in the observed state (alpha of a matrix product) being 1, and leaves out the products with
/// them that only other arithmetic uses: a NaN that such a product would have quietened, that arithmetic makes quiet, too.
/// Only where denormals are no zeros.
void LeaveOutFactorsOfOne(llvm::Loop& loop, const MachineState& observed);

}  // namespace tracelift::jit

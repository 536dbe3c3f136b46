// Addresses that no pass changes, in terms of the state at entry. Private to jit/emit.
#pragma once

#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Function.h>

#include <optional>

#include "jit/machine_state.h"
#include "jit/slot.h"

namespace tracelift::jit {

/// `address` as the sum of a constant, an entry value, and the base of fs, or of some of these: base, through, fs and
/// displacement of a slot. Files' bases count as the constants that they are in `observed`.
std::optional<Slot> SlotAt(const llvm::SCEV* address, const llvm::Function& function, const MachineState& observed);

/// The general purpose register whose value at entry it is, all 64 bits.
std::optional<int> EntryGprOf(const llvm::Value* value, const llvm::Function& function);

}  // namespace tracelift::jit

// Reads of constant tables at addresses that only data decide (the tables of exp and sin). Private to jit/emit.
//
// Nobody ever writes there, so such a read conflicts with nothing and need not be in the footprint; it only has to stay
// inside. Where that is not proven, the chunk checks it and reads the table's begin instead (kFlagStrayed).
#pragma once

#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/Instructions.h>

#include <optional>
#include <vector>

#include "jit/code_reader.h"
#include "jit/machine_state.h"

namespace tracelift::jit {

struct TableRead {
  llvm::LoadInst* load = nullptr;
  bool stays_inside = false;    // whatever the data are
  AddressRange table;  // constant memory around the constant that the address is computed from, counted from
  llvm::Value* base = nullptr;  // this value, where a file begins that is not always loaded at the same place,
  int module = -1;              // which has this number
};

/// When `address`, an integer that is not known, is computed from a constant, or a file's base and a constant, that lies in
/// constant memory. Of `observed`, only the bases matter.
std::optional<TableRead> TableReadOf(llvm::LoadInst* load, const llvm::SCEV* address, llvm::ScalarEvolution& evolution,
                                     const CodeReader& reader, const MachineState& observed);

/// Makes the reads safe; sets `strayed`, an i1, where one would have left its table.
void GuardTableReads(const std::vector<TableRead>& reads, llvm::AllocaInst* strayed);

}  // namespace tracelift::jit

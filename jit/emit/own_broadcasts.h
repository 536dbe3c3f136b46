// An operand for all lanes, read by each vector that it is multiplied by. Private to jit/emit.
//
// AVX-512 instructions read one number from memory as an operand for all their lanes, for nothing. LLVM makes use of that where the
// number has one user; where it has two, as in a panel of two vectors, it keeps it in a register, and what spreads it over one takes the
// arithmetic units' time: 40 instead of 50 GFLOP/s for a product of matrices (Zen 4). So each vector gets a read of its own, through
// another name of the program's memory, which keeps LLVM from making one of them again.
#pragma once

#include <llvm/IR/Function.h>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

/// In loops of `function` that write nothing. Vectors wider than a register, of `vector_bits`, are taken for several.
void ReadBroadcastsApart(llvm::Function& function, unsigned vector_bits, Analyses& analyses);

}  // namespace tracelift::jit

// A register that holds from pass to pass what a pass stored last is read from there again. Private to jit/emit.
//
//   carried = a[0][0];                               for i: {
//   for i: {                                           a[i][i] = sqrt(a[i][i]);
//     a[i][i] = sqrt(carried);                         ...
//     ...                                              a[i + 1][i + 1] = ...;
//     a[i + 1][i + 1] = carried = ...;               }
//   }
//
// Compilers save a load so, but what a pass needs of the one before it is then no place that a footprint knows.
#pragma once

#include <llvm/IR/Function.h>

#include "jit/emit/host_target.h"

namespace tracelift::jit {

/// Of the outermost loop, a nest. That memory holds the value at entry, too, is a fact relied on (jit/emit/entry_facts.h). True
/// when anything changed: simplify again then.
bool RereadCarriedValues(llvm::Function& function, Analyses& analyses);

}  // namespace tracelift::jit

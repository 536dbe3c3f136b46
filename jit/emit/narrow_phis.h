// 32-bit counters of x86 code live in 64-bit registers: every write zero-extends. In lifted IR that is a 64-bit phi
// of zero-extended values, which hides the recurrence from ScalarEvolution. NarrowPhis gives the readers of the low
// half a 32-bit phi of their own. Exact, without assumptions about the start value. Private to jit/emit.
#pragma once

namespace llvm {
class Function;
}

namespace tracelift::jit {

/// Returns true when anything changed.
bool NarrowPhis(llvm::Function& function);

}  // namespace tracelift::jit

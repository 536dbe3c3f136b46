// Functions that a loop calls, spliced into the loop's control flow: from then on the loop has no calls.
//
// A callee's blocks are copied once for each call, at addresses of their own (IsInCopy). The call becomes a push of its
// return address and a jump, the return a pop and a jump. Calls through linkage tables are followed, also those that an
// IFUNC decided, and jumps to other functions (tail calls). What is not lifted in a callee stays out: a block that can be
// avoided on the way to a return is a detour, like those of the loop itself; so is one where the callee's stack cannot be
// followed, or from which only functions are called that stay calls.
//
// A call stays a call when its callee is not known, calls itself, or has no way to return that is lifted;
// DecodedFunction::opaque_calls says why.
#pragma once

#include <memory>

#include "jit/code/decoded_function.h"
#include "jit/code_reader.h"

namespace tracelift::jit {

/// `function` with the callees of `loop` spliced in; loops keep their ids. Blocks of the loop with an instruction for
/// which `is_lifted` is false are marked (BasicBlock::passable).
std::shared_ptr<const FunctionCode> SpliceCallees(const CodeReader& reader, const FunctionCode& function, LoopId loop,
                                                  bool (*is_lifted)(const Instruction&));

}  // namespace tracelift::jit

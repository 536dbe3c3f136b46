// What a pass and its spliced callees push below the program's stack pointer, as variables of the pass. Private to jit/emit.
#pragma once

#include <cstdint>

namespace llvm {
class Function;
}  // namespace llvm

namespace tracelift::jit {

struct Analyses;

/// Turns every access at (rsp at entry) - constant, within `bytes` below it and the red zone of the deepest callee, into
/// one to memory of the function's own, which simplification then makes registers of. A pass that reads there before it
/// writes sees unknown values (UsesUnknownValues). What it does not find stays an access to the program's stack, which
/// entries decline that come with a footprint in that range. Simplify before and after.
void PromoteCalleeFrame(llvm::Function& function, int64_t bytes, Analyses& analyses);

}  // namespace tracelift::jit

// Which registers a later instruction may still read.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

/// What functions outside read, by address of the call, or of the place that a jump leads to.
using ReadBeyond = std::map<uint64_t, RegisterSet>;

/// Per block the registers live at its first instruction, by backward data flow over the whole function.
///
/// Too large is safe, too small is not: a register not live at a loop's header is not restored there. Hence
/// - `ret` reads what System V hands to the caller: rax, rdx, xmm0, xmm1, rsp and the callee-saved registers;
/// - a call reads what can hold arguments, and the callee-saved registers (a landing pad of this function may run next,
///   with them restored), and clears nothing: gcc's -fipa-ra keeps values in "clobbered" registers across calls of
///   functions that it knows to leave them alone, and TLS descriptors preserve everything;
/// - everything is live at indirect jumps, at undecodable bytes, and where a direct jump leaves the function: that may
///   be a tail call, but also the function's own cold part, which gcc gives an FDE of its own;
/// - nothing is live at ud2 and hlt.
/// What functions outside read when control goes there is taken from `read_beyond` where that knows it.
std::vector<RegisterSet> LiveIn(const DecodedFunction& function, const ReadBeyond& read_beyond);

/// What any function may read of its caller's registers, those included that it must give back.
RegisterSet ReadByAnyCall();
/// Those of them that are given back.
RegisterSet KeptByAnyCall();

}  // namespace tracelift::jit

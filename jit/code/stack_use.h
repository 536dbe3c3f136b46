// How far code moves the stack pointer, followed over its control flow. Private to jit/code.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

/// What a function does with the stack, per block.
struct StackUse {
  std::vector<int64_t> after;  // bytes pushed at the block's end, -1 where it is not reached
  std::vector<bool> lost;      // the stack cannot be followed there: no block to pass
  std::string why;             // of the first of those
};
StackUse FollowStack(const DecodedFunction& function, const std::vector<bool>& passable);

/// The same over one pass of a loop, header to header, callees spliced in. It must bring rsp back to what it was at the
/// header, never rise above that, and be known at each instruction.
struct LoopStack {
  std::vector<int64_t> before;  // per instruction: bytes pushed since the header; 0 outside the loop
  std::vector<int64_t> after;   // the same per block, at its end
  int64_t most = 0;             // ever pushed
  std::optional<Rejection> obstacle;
};
LoopStack FollowLoopStack(const DecodedFunction& function, std::span<const int> blocks);

}  // namespace tracelift::jit

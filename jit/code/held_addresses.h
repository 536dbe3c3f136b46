// Which registers hold addresses that no pass changes, followed through the code. Private to jit/code.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

struct HeldAddresses {
  std::unordered_map<uint64_t, HeldAddress> operands;  // see LoopFacts::held
  std::vector<SameAddress> at_header;                  // see LoopFacts::same_at_header
};

/// Of one pass over `blocks`, header first, callees spliced in. Of `facts` it needs what the loop clobbers.
HeldAddresses FollowAddresses(const DecodedFunction& function, std::span<const int> blocks, const LoopFacts& facts);

}  // namespace tracelift::jit

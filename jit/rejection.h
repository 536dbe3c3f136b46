// Why a region stays at home: an ordinary value with its reason, never an error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tracelift::jit {

enum class RejectionReason : uint8_t {
#define TL_REJECTION(name, what, unblock) k##name,
#include "jit/rejection.def"
#undef TL_REJECTION
};

inline constexpr int kRejectionReasons = 0
#define TL_REJECTION(name, what, unblock) +1
#include "jit/rejection.def"
#undef TL_REJECTION
    ;

/// "CallInLoop": the stable identifier used in reports.
std::string_view Name(RejectionReason reason);
/// What stopped the region, in words for the user.
std::string_view What(RejectionReason reason);
/// What would unblock it.
std::string_view Unblock(RejectionReason reason);

struct Rejection {
  RejectionReason reason{};
  uint64_t address = 0;  // the instruction or loop that stopped it, 0 when there is none
  std::string detail;    // e.g. the disassembled instruction; may be empty
};

/// "it calls a function: call 0x1140 at 0x55d0; unblocked by ...": one line.
std::string Describe(const Rejection& rejection);

}  // namespace tracelift::jit

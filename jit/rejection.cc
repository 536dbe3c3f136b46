#include "jit/rejection.h"

#include <fmt/format.h>

namespace tracelift::jit {
namespace {

struct Text {
  std::string_view name, what, unblock;
};

constexpr Text kTexts[] = {
#define TL_REJECTION(name, what, unblock) {#name, what, unblock},
#include "jit/rejection.def"
#undef TL_REJECTION
};

}  // namespace

std::string_view Name(RejectionReason reason) { return kTexts[static_cast<size_t>(reason)].name; }
std::string_view What(RejectionReason reason) { return kTexts[static_cast<size_t>(reason)].what; }
std::string_view Unblock(RejectionReason reason) { return kTexts[static_cast<size_t>(reason)].unblock; }

std::string Describe(const Rejection& rejection) {
  std::string text(What(rejection.reason));
  if (!rejection.detail.empty()) text += fmt::format(": {}", rejection.detail);
  if (rejection.address != 0) text += fmt::format(" at {:#x}", rejection.address);
  return text + fmt::format("; would need: {}", Unblock(rejection.reason));
}

}  // namespace tracelift::jit

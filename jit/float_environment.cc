#include "jit/float_environment.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace tracelift::jit {
namespace {

constexpr std::array<std::pair<uint32_t, const char*>, 6> kMasks = {{{0x0080, "an invalid operation"},
                                                                     {0x0100, "a denormal operand"},
                                                                     {0x0200, "a division by zero"},
                                                                     {0x0400, "an overflow"},
                                                                     {0x0800, "an underflow"},
                                                                     {0x1000, "an inexact result"}}};

void Append(const char* separator, const std::string& part, std::string* text) {
  if (!text->empty()) *text += separator;
  *text += part;
}

}  // namespace

std::string DescribeFloatEnvironment(uint32_t mxcsr) {
  constexpr std::array<const char*, 4> kRounding = {"", "rounding down", "rounding up", "rounding towards zero"};
  std::string control, traps;
  if (const char* rounding = kRounding[mxcsr >> 13 & 3]; *rounding != 0) Append(", ", rounding, &control);
  if ((mxcsr & kFlushToZero) != 0) Append(", ", "flush-to-zero", &control);
  if ((mxcsr & kDenormalsAreZero) != 0) Append(", ", "denormals-are-zero", &control);
  for (const auto& [mask, what] : kMasks) {
    if ((mxcsr & mask) == 0) Append(", ", what, &traps);
  }
  if (!traps.empty()) Append("; ", "traps on " + traps, &control);
  if (control.empty()) control = "default";
  return fmt::format("{} (MXCSR {:#x})", control, mxcsr & ~kMxcsrSticky);
}

}  // namespace tracelift::jit

// The control bits of MXCSR as values: under which rules the float instructions of SSE and its successors compute.
//
// Two of the three groups change results: the rounding mode, and what happens to denormals (FTZ flushes results, DAZ
// operands). They are part of what a region is compiled for. The third, the exception masks, decides whether an
// instruction may trap; code that runs elsewhere cannot trap where the original would. Intel SDM vol. 1, 10.2.3.
#pragma once

#include <cstdint>
#include <string>

namespace tracelift::jit {

inline constexpr uint32_t kMxcsrSticky = 0x003f;     // exceptions that happened
inline constexpr uint32_t kMxcsrMasks = 0x1f80;      // exceptions that do not trap
inline constexpr uint32_t kDenormalsAreZero = 0x0040;
inline constexpr uint32_t kFlushToZero = 0x8000;
inline constexpr uint32_t kRoundDown = 0x2000;
inline constexpr uint32_t kRoundUp = 0x4000;
inline constexpr uint32_t kRoundToZero = 0x6000;

/// The bits of MXCSR that results depend on; 0 is the mode in which every process starts.
using FloatControl = uint32_t;
inline constexpr FloatControl kDefaultFloatControl = 0;

constexpr FloatControl FloatControlOf(uint32_t mxcsr) {
  return mxcsr & (kDenormalsAreZero | kFlushToZero | kRoundToZero);
}

constexpr bool RoundsToNearest(FloatControl control) { return (control & kRoundToZero) == 0; }

/// MXCSR for code that runs under `control`: nothing traps, nothing has happened yet.
constexpr uint32_t MxcsrFor(FloatControl control) { return control | kMxcsrMasks; }

/// Whether a float exception would raise a signal.
constexpr bool TrapsFloats(uint32_t mxcsr) { return (mxcsr & kMxcsrMasks) != kMxcsrMasks; }

/// What differs from the default, in words: "rounding up, flush-to-zero; traps on an overflow (MXCSR 0xdb80)".
std::string DescribeFloatEnvironment(uint32_t mxcsr);

}  // namespace tracelift::jit

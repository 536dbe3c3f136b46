// Whole loops for tests: assembled from text, lifted, and run or described.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "jit/lift/lifter.h"
#include "jit/machine_state.h"

namespace tracelift::jit {

struct LoopCase {
  std::string text;  // the loop; @L is its first instruction
  std::vector<std::pair<Gpr, uint64_t>> gpr = {};
  uint64_t rflags = 0;
  std::vector<uint64_t> slots = {};  // start values, by slot number
  std::vector<KnownValue> known = {};
  RegisterSet upper_zero = {};
  int64_t passes = 1;
};

struct LoopRun {
  int32_t returned = 0;
  uint32_t flags = 0;
  MachineState state{};
  int slot_count = 0;
  uint64_t first_slot = 0;
};

LoopRun RunLoop(const LoopCase& loop);

/// Why the loop is not lifted; "" when it is.
std::string RejectionOf(const std::string& text);

/// What loop analysis sees after simplification.
struct LoopShapeText {
  std::string phis;        // "rax:i64:affine rcx:i32:carried", sorted, those in use
  std::string trip_count;  // of the loop's own exit
  std::string accesses;    // "load double affine, store i32 other", in program order
};
LoopShapeText ShapeOf(const std::string& text);

}  // namespace tracelift::jit

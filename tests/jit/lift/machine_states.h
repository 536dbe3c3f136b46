// Start states for differential tests: registers and memory full of the values that break things.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>

#include "jit/machine_state.h"

namespace tracelift::jit {

inline constexpr size_t kBufferBytes = 512;

/// Registers, flags, and the memory that memory operands reach.
struct TestState {
  MachineState machine{};
  alignas(64) std::array<uint8_t, kBufferBytes> memory{};
};

class StateGenerator {
 public:
  explicit StateGenerator(uint64_t seed) : random_(seed) {}
  /// From now on states differ in MXCSR's control bits, and floats are tiny more often than not.
  void VaryFloatModes() { varies_modes_ = true; }
  /// A state for `snippet` whose memory will lie at `buffer`.
  void Fill(const std::string& snippet, uint64_t buffer, TestState* state);

 private:
  void PlaceThreadData(const std::string& snippet, uint64_t middle, MachineState* machine);
  uint64_t Integer();
  uint64_t TinyDouble();
  uint32_t TinyFloat();
  uint64_t Double();
  uint32_t Float();
  uint64_t Cell();  // eight bytes of any of these
  uint64_t Mask();
  uint64_t Below(uint64_t limit) { return random_() % limit; }

  std::mt19937_64 random_;
  bool varies_modes_ = false;
};

}  // namespace tracelift::jit

// Inputs for the fuzzer: random bytes, loops put together from real instructions, and real functions with damage.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace tracelift::jit {

inline constexpr size_t kMostInputBytes = 8192;

class CodeMutator {
 public:
  /// Takes functions and instructions from these libraries of the system; missing ones are left out.
  explicit CodeMutator(const std::vector<std::string>& libraries);

  /// The same input for the same state of `random`, as long as the libraries are the same.
  std::vector<uint8_t> Make(std::mt19937_64& random) const;

  size_t functions() const { return functions_.size(); }
  size_t instructions() const { return instructions_.size(); }

 private:
  using Bytes = std::vector<uint8_t>;

  Bytes RandomBytes(std::mt19937_64& random) const;
  Bytes LoopOfInstructions(std::mt19937_64& random) const;
  void Damage(std::mt19937_64& random, Bytes* code) const;

  std::vector<Bytes> functions_;
  std::vector<Bytes> instructions_;  // each encoding once
  std::vector<Bytes> liftable_;      // those that the allow-list takes and that fall through
};

}  // namespace tracelift::jit

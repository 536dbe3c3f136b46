// Inputs for the fuzzer: random bytes, loops put together from real instructions, switches and calls, and real functions
// with damage.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "jit/code/decoded_function.h"
#include "tests/jit/fuzz/fuzz_input.h"

namespace tracelift::jit {

class CodeMutator {
 public:
  /// Takes functions and instructions from these libraries of the system; missing ones are left out.
  explicit CodeMutator(const std::vector<std::string>& libraries);

  /// The same input for the same state of `random`, as long as the libraries are the same.
  FuzzInput Make(std::mt19937_64& random) const;

  size_t functions() const { return functions_.size(); }
  size_t instructions() const { return instructions_.size(); }

 private:
  using Bytes = std::vector<uint8_t>;

  struct Function {
    const LoadedLibrary* library;
    AddressRange bounds;
  };
  class Loop;  // one that is being put together

  Bytes RandomBytes(std::mt19937_64& random) const;
  void LoopOfInstructions(std::mt19937_64& random, FuzzInput* input) const;
  Bytes Callee(std::mt19937_64& random) const;
  const InstructionBytes& AnyInstruction(std::mt19937_64& random, bool liftable) const;
  void Damage(std::mt19937_64& random, Bytes* code) const;

  std::vector<std::unique_ptr<LoadedLibrary>> libraries_;
  std::vector<Function> functions_;
  std::vector<InstructionBytes> instructions_;  // each encoding once
  std::vector<InstructionBytes> liftable_;      // those that the allow-list takes and that fall through
};

}  // namespace tracelift::jit

// The lifter against the CPU: each snippet is executed natively and as lifted IR, from the same random states; whole
// register files, flags and memory are compared. The IR is run in three ways: interpreted as it was lifted, compiled as
// it was lifted, and optimised and compiled.
//
// What may differ: flags that the manual leaves undefined, and the bits of a NaN where both results are NaN and the
// operation is one whose operands LLVM may swap (the runtime redoes such executions in the original code).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace tracelift::jit {

struct Snippet {
  std::string native;  // run on the CPU
  std::string lifted;  // lifted; the same text except in tests of the harness itself
};

struct DifferentialOptions {
  int states = 300;            // per snippet and variant
  int interpreted_states = 8;  // at most so many of them interpreted, which takes some 100 times as long
  uint64_t seed = 1;
  // Each state runs under a mode of its own, of all that MXCSR knows (rounding, FTZ, DAZ), with many tiny operands.
  bool float_modes = false;
};

// Slots: memory scalars live in registers. Dead flags: nobody reads them after the snippet, so that it computes only
// those that it reads itself.
enum class Variant { kPlainInterpreted, kPlainO0, kPlainO3, kSlotsO3, kDeadFlagsO3 };
inline constexpr const char* kVariantNames[] = {"plain, interpreted", "plain, O0", "plain, O3", "slots, O3",
                                                "dead flags, O3"};
inline constexpr int kPlainVariants = 3;  // the first ones; every snippet is run in them

struct Mismatch {
  std::string snippet;
  std::string variant;  // one of kVariantNames
  std::string difference;
};

/// Of the snippets that contain it.
struct MnemonicCounts {
  uint64_t snippets = 0;
  std::map<std::string, uint64_t> comparisons_in;  // by variant
};

struct DifferentialResult {
  std::vector<Mismatch> mismatches;    // at most one per snippet and variant
  std::vector<std::string> not_lifted;  // snippets with the reason
  std::map<std::string, std::string> not_interpreted;  // by snippet: what in its IR LLVM's interpreter does not know
  std::string failure;                  // the harness itself failed: nothing below counts
  uint64_t comparisons = 0;             // whole states compared
  std::map<std::string, uint64_t> comparisons_in;  // by variant
  std::map<std::string, MnemonicCounts> mnemonics;
  uint64_t nan_differences = 0;         // states that differ in bits of tolerated NaNs only
  uint64_t faults = 0;                  // states in which the CPU raised a divide fault, and so did we
  uint64_t declined = 0;                // divisions that we leave to the original though the CPU does them
};

DifferentialResult RunDifferential(const std::vector<Snippet>& snippets, const DifferentialOptions& options);

/// Mnemonics of all instructions of `snippets`.
std::set<std::string> MnemonicsOf(const std::vector<std::string>& snippets, std::string* failure);

/// For each snippet whether IsSupported holds for all its instructions.
std::vector<bool> AreSupported(const std::vector<std::string>& snippets, std::string* failure);

}  // namespace tracelift::jit

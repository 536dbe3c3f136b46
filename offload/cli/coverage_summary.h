// The numbers of `tracelift coverage`: loops counted by class and by reason, and their two renderings.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "offload/runtime/coverage_api.h"

namespace tracelift::offload {

struct LoopCount {
  uint64_t loops = 0, liftable_loops = 0;
  uint64_t instructions = 0, liftable_instructions = 0;
  LoopCount& operator+=(const LoopCount& other);
};

/// Of loops that cannot be lifted, by their first reason.
struct ReasonCount {
  std::string what;
  uint64_t loops = 0, instructions = 0;
};

/// Of a form of instruction, in loops rejected for instructions that are not lifted.
struct FormCount {
  uint64_t loops = 0;  // that have it
  uint64_t alone = 0;  // of these, that have no other: lifting it lifts them
};

struct RejectedLoop {
  uint64_t function = 0, header = 0, at = 0;
  uint32_t depth = 1, instructions = 0, float_use = kTlFloatNone;
  std::string reason, detail;
};

struct Undecoded {
  uint64_t functions = 0, bytes = 0;
};

/// What was found in one file, or in several.
struct Coverage {
  uint64_t functions = 0, function_bytes = 0, unusable_entries = 0;
  std::array<LoopCount, kTlFloatUses> by_float_use;
  LoopCount x87;  // of those, with x87 instructions
  std::map<std::string, ReasonCount> reasons;
  std::map<std::string, FormCount> forms;
  std::map<std::string, Undecoded> undecoded;  // by reason
  std::vector<RejectedLoop> rejected;

  LoopCount All() const;
  void AddLoop(const TlCoveredLoop& loop);
  void AddUndecoded(const TlUndecodedFunction& function);
  void AddTotals(const TlCoverageTotals& totals);
  /// Sums up, except for the list of rejected loops: addresses mean something within one file only.
  Coverage& operator+=(const Coverage& other);
};

struct CoveredFile {
  std::string file;
  std::string problem;  // why it was not examined, or ""
  Coverage coverage;
};

struct CoverageScope {
  bool innermost_only = true;
  bool floats_only = false;
};

/// Over the examined ones among `files`.
Coverage SumOf(const std::vector<CoveredFile>& files);

std::string RenderCoverageTable(const std::string& name, const Coverage& coverage, CoverageScope scope);
std::string RenderCoverageJson(const std::vector<CoveredFile>& files, CoverageScope scope);

}  // namespace tracelift::offload

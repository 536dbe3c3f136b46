// What one traced run did: the report as a value, its file format (JSON, versioned), and its rendering for people.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>
#include <vector>

namespace tracelift::profiler {

inline constexpr int kReportVersion = 4;

/// Robust summary of repeated timings, nanoseconds per pass of the region's loop.
struct Timing {
  uint64_t count = 0;
  double median_ns = 0;
  double low_ns = 0;   // 10th percentile
  double high_ns = 0;  // 90th percentile
};

/// One way in which a region's loop was compiled, and what its passes took.
struct VariantReport {
  std::string transformation;  // as RegionReport has it
  std::string state;           // "runs", "slower": it lost against another, "replaced": made for values that changed
  Timing pass;                 // single slices, as long as passes of the region's first entry
};

struct RegionReport {
  std::string module;                // file name of the ELF object, e.g. "/usr/bin/octave-cli"
  uint64_t offset = 0;               // of the loop's header in that file's address space (ELF virtual address)
  std::string symbol;                // "dgemm_+0x1a4", or "" when stripped
  std::string source;                // "matmul.c:14", or ""
  std::vector<std::string> callers;  // outer functions seen on sampled stacks, innermost first, "name" or "module+0x.."
  double sample_share = 0;           // of all samples of the process, 0..1
  uint64_t samples = 0;
  std::string state;         // "accelerated", "rejected", "put-back", "profiled", "installed"
  std::string place;         // "cpu x2" or "home"
  uint64_t executions = 0;   // entries taken over
  uint64_t declines = 0;     // entries left to the original
  uint64_t passes = 0;       // loop passes run by variants
  Timing native;             // per pass, original code
  Timing variant;            // per pass, variant, all overhead included
  double time_saved_ns = 0;  // estimate: passes * (native - variant)
  uint64_t verified = 0;     // slices computed both ways and found equal
  std::string transformation;  // vectors, and how its passes were rearranged; "" when they never ran elsewhere
  std::vector<VariantReport> variants;  // all that were compiled, the first one first
  std::string reason;        // Rejection name, e.g. "CarriedValue"; "" when accelerated
  std::string reason_text;   // full sentence with address and what would unblock it
  std::vector<std::pair<std::string, uint64_t>> decline_reasons;  // reason name -> count
  double heat_to_run_ms = 0;  // from the sample that made it hot to its first pass elsewhere; 0: not known, or none ran
  double lift_ms = 0, analyse_ms = 0, optimise_ms = 0, emit_ms = 0;
  uint64_t from_cache = 0;  // compilations that an earlier run had done already
  double fetch_ms = 0;      // time for looking them up
  std::string ir;  // optimised LLVM IR when it was kept, else ""
};

struct RunReport {
  int version = kReportVersion;
  std::string tracelift_version;
  std::vector<std::string> command;
  int64_t pid = 0;
  std::string machine;     // CPU model, cores
  std::string target_cpu;  // LLVM name and features compiled for
  std::string state;       // "idle" (nothing hot), "profiled", "active", "off: <why>"
  double wall_ms = 0, cpu_ms = 0;
  uint64_t samples = 0, lost_samples = 0;
  std::string sampling_source;
  double sampling_cost_ms = 0;
  double compile_ms = 0;
  double load_ms = 0;  // loading the runtime
  double time_saved_ms = 0;
  std::string cache;  // "DIR: 3 found, 1 compiled", or "not used: <why>"; "" when nothing was to be compiled
  std::string graph;  // ExecutionGraph text form (partitioner/graph)
  std::string plan;   // plan text with its reason
  std::vector<std::string> notes;
  std::vector<RegionReport> regions;
};

std::string ToJson(const RunReport& report);
/// Errors name what is wrong and the next step ("not a tracelift report", "version 7, this tracelift reads 1").
std::expected<RunReport, std::string> FromJson(const std::string& text);
/// The table of `tracelift report` and `--summary`, at most ~110 columns.
std::string RenderTable(const RunReport& report);

}  // namespace tracelift::profiler

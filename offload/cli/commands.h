// The commands of `tracelift`. Each returns the exit status of the process.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tracelift::offload {

/// Misuse, or a program that cannot be traced; as shells, 126 and 127 stand for "not executable" and "not found".
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotExecutable = 126;
inline constexpr int kExitNotFound = 127;

/// Options of `tracelift run`. What is not given is left to the TRACELIFT_* variables of the environment.
struct RunOptions {
  std::optional<std::string> report, devices, kernels, math, verify, cache, children;
  std::optional<int> threads, cache_mib;
  bool summary = false;
  bool profile_only = false;
  std::vector<std::string> command;
};

/// Options of `tracelift coverage`.
struct CoverageOptions {
  std::vector<std::string> files;
  bool json = false;
  bool innermost_only = true;
  bool floats_only = false;
};

/// Becomes the program; returns only when that failed.
int RunCommand(const RunOptions& options);
int ReportCommand(const std::string& file, bool json);
int DoctorCommand();
/// 1 when a file could not be examined; the others are, all the same.
int CoverageCommand(const CoverageOptions& options);

}  // namespace tracelift::offload

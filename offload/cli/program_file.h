// Can this file be run under LD_PRELOAD? Answered before anything starts, because the loader would ignore the
// library without a word.
#pragma once

#include <expected>
#include <string>

namespace tracelift::offload {

struct ProgramError {
  int exit_status;
  std::string message;
};

/// Finds the program as execvp does and checks it, and the interpreter when it is a script. The path to execute.
std::expected<std::string, ProgramError> FindProgram(const std::string& name);

}  // namespace tracelift::offload

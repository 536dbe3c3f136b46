// `tracelift run`: checks, environment, exec.
#include <errno.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "offload/cli/commands.h"
#include "offload/cli/installation.h"
#include "offload/cli/program_file.h"

namespace tracelift::offload {
namespace {

int Fail(int status, const std::string& message) {
  fmt::print(stderr, "tracelift: {}\n", message);
  return status;
}

/// The program may change its directory, and children start in others.
std::string Absolute(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.string();
}

/// Empty, or why no report could be written there.
std::string ReportProblem(const std::string& file) {
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) return fmt::format("--report {}: is a directory", file);
  const std::string folder = std::filesystem::path(file).parent_path().string();
  if (!std::filesystem::is_directory(folder, error)) {
    return fmt::format("--report {}: there is no directory {}", file, folder);
  }
  if (access(folder.c_str(), W_OK) != 0) return fmt::format("--report {}: {}: {}", file, folder, strerror(errno));
  return "";
}

void Set(const char* name, const std::string& value) { setenv(name, value.c_str(), 1); }
void Set(const char* name, const std::optional<std::string>& value) {
  if (value) Set(name, *value);
}

void SetEnvironment(const RunOptions& options, const Installation& installation) {
  if (options.report) Set("TRACELIFT_REPORT", Absolute(*options.report));
  if (options.cache) Set("TRACELIFT_CACHE", *options.cache == "off" ? "off" : Absolute(*options.cache));
  if (options.cache_mib) Set("TRACELIFT_CACHE_SIZE", std::to_string(*options.cache_mib));
  if (options.threads) Set("TRACELIFT_THREADS", std::to_string(*options.threads));
  Set("TRACELIFT_DEVICES", options.devices);
  if (options.kernels) Set("TRACELIFT_KERNELS", Absolute(*options.kernels));
  Set("TRACELIFT_MATH", options.math);
  Set("TRACELIFT_VERIFY", options.verify);
  Set("TRACELIFT_CHILDREN", options.children);
  if (options.summary) Set("TRACELIFT_SUMMARY", std::string("1"));
  if (options.profile_only) Set("TRACELIFT_PROFILE_ONLY", std::string("1"));
  Set("TRACELIFT_ROOT_PID", std::to_string(getpid()));
  const char* others = getenv("LD_PRELOAD");
  Set("LD_PRELOAD", others && *others ? installation.preload + ":" + others : installation.preload);
}

}  // namespace

int RunCommand(const RunOptions& options) {
  if (options.command.empty()) return Fail(kExitUsage, "run: no program given; usage: tracelift run -- PROGRAM ARGS...");
  if (options.report) {
    if (const std::string problem = ReportProblem(Absolute(*options.report)); !problem.empty()) {
      return Fail(kExitUsage, problem);
    }
  }
  const auto installation = FindInstallation();
  if (!installation) return Fail(kExitUsage, installation.error());
  if (installation->preload.find_first_of(": ") != std::string::npos) {
    return Fail(kExitUsage, fmt::format("{}: LD_PRELOAD cannot name files with a space or colon; move tracelift",
                                        installation->preload));
  }
  const auto program = FindProgram(options.command.front());
  if (!program) return Fail(program.error().exit_status, program.error().message);

  SetEnvironment(options, *installation);
  std::vector<char*> arguments;
  for (const std::string& argument : options.command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execv(program->c_str(), arguments.data());
  return Fail(errno == ENOENT ? kExitNotFound : kExitNotExecutable, fmt::format("{}: {}", *program, strerror(errno)));
}

}  // namespace tracelift::offload

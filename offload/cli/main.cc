// tracelift: run a program faster, read its report, look at the machine, or at what could be lifted.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "offload/cli/commands.h"

namespace {

using tracelift::offload::CoverageOptions;
using tracelift::offload::RunOptions;

std::string ProblemWithDevices(const std::string& list) {
  for (const std::string& name : CLI::detail::split(list, ',')) {
    if (name != "cpu" && name != "gpu" && name != "reference") return "no device is called '" + name + "': there are cpu, gpu and reference";
  }
  return "";
}

void AddRunOptions(CLI::App* app, RunOptions* options) {
  app->footer("Usage: tracelift run [OPTIONS] -- PROGRAM [ARGS...]\nEach option has a variable (TRACELIFT_REPORT, TRACELIFT_SUMMARY, ...) for use with plain LD_PRELOAD.");
  app->add_option("--report", options->report, "Write a report to this file; %p becomes the process id")
      ->type_name("FILE");
  app->add_flag("--summary", options->summary, "Print the report's table to standard error at exit");
  app->add_option("--devices", options->devices,
                  "Where regions may run: comma list of cpu, gpu, reference (a GPU played by the CPU, for tests); default: cpu")
      ->type_name("LIST")
      ->check(CLI::Validator(ProblemWithDevices, ""));
  app->add_option("--kernels", options->kernels, "Write the PTX of regions that run on a device into this directory")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory);
  app->add_option("--threads", options->threads, "CPU threads to use (default: all allowed to the process)")
      ->check(CLI::Range(0, 4096));
  app->add_option("--math", options->math, "strict: every bit as the original computes it (default); relaxed: floats in another order, fused, libm in vectors")
      ->check(CLI::IsMember({"strict", "relaxed"}));
  app->add_option("--verify", options->verify, "Compare variants with the original code (default: first executions)")
      ->check(CLI::IsMember({"first", "always", "off"}));
  app->add_option("--cache", options->cache, "Keep compiled regions in this directory (default: ~/.cache/tracelift), or 'off'")
      ->type_name("DIR|off");
  app->add_option("--cache-size", options->cache_mib, "How many MiB of them to keep (default: 256)")
      ->check(CLI::Range(0, 1 << 20));
  app->add_flag("--profile-only", options->profile_only, "Only look: sample and report, replace nothing");
  app->add_option("--children", options->children, "Programs that this one executes: follow (default) or leave")
      ->check(CLI::IsMember({"follow", "leave"}));
  app->prefix_command();
}

void AddCoverageOptions(CLI::App* app, CoverageOptions* options) {
  app->add_option("files", options->files, "Programs and shared libraries (ELF, x86-64), stripped or not")
      ->required()
      ->type_name("FILE...");
  app->add_flag("--json", options->json, "As JSON, with every loop that cannot be lifted");
  app->add_flag("--innermost,!--all", options->innermost_only, "Only innermost loops (default), or all");
  app->add_flag("--floats", options->floats_only, "Only loops that carry floats");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Makes running programs faster by moving their hot loops to where they run best.", "tracelift");
  app.set_version_flag("--version", TRACELIFT_VERSION);
  app.require_subcommand(1);

  RunOptions run_options;
  CLI::App* run = app.add_subcommand("run", "Run a program under tracelift");
  AddRunOptions(run, &run_options);

  std::string report_file;
  bool json = false;
  CLI::App* report = app.add_subcommand("report", "Show what a report says");
  report->add_option("file", report_file, "The report")->required()->type_name("FILE");
  report->add_flag("--json", json, "As JSON instead of a table");

  CoverageOptions coverage_options;
  CLI::App* coverage = app.add_subcommand("coverage", "Say which loops of programs and libraries could be lifted");
  AddCoverageOptions(coverage, &coverage_options);

  CLI::App* doctor = app.add_subcommand("doctor", "Say what this machine offers and what will be degraded");

  // Everything after "--" is the program's, also what looks like an option of ours.
  char** const end = argv + argc;
  char** const separator = std::find_if(argv, end, [](const char* word) { return std::string_view(word) == "--"; });
  try {
    app.parse(static_cast<int>(separator - argv), argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : tracelift::offload::kExitUsage;
  }
  if (*run) {
    run_options.command = run->remaining();
    if (separator != end) {
      const bool program_given = !run_options.command.empty();
      run_options.command.insert(run_options.command.end(), separator + (program_given ? 0 : 1), end);
    }
    return tracelift::offload::RunCommand(run_options);
  }
  if (*report) return tracelift::offload::ReportCommand(report_file, json);
  if (*coverage) return tracelift::offload::CoverageCommand(coverage_options);
  if (*doctor) return tracelift::offload::DoctorCommand();
  return tracelift::offload::kExitUsage;
}

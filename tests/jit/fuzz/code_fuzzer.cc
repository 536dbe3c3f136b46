// code_fuzzer: decoder, control flow graph, liveness, loop facts and lifter on random and damaged machine code. Nothing
// may crash, hang (10 s of processor time), break an invariant, make invalid IR, or read outside the bytes given.
//
//   code_fuzzer --executions N [--seed S] [--first K] [--record FILE]
//
// Execution number i depends on the seed and i only: `--first i --executions 1` repeats it, and processes with other
// ranges share a long run. A finding is printed with its bytes and ends the run with status 1.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "jit/code/callees.h"
#include "jit/code/decoded_function.h"
#include "jit/code/reachable_code.h"
#include "jit/lift/lifter.h"
#include "tests/jit/code/function_invariants.h"
#include "tests/jit/fuzz/code_mutator.h"
#include "tests/jit/fuzz/fuzz_input.h"
#include "tests/jit/fuzz/guarded_bytes.h"
#include "tests/jit/fuzz/lift_target.h"
#include "tests/jit/run_record.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace tracelift::jit {
namespace {

constexpr unsigned kHangSeconds = 10;

struct Options {
  std::string command;
  uint64_t executions = 100000;
  uint64_t seed = 1;
  uint64_t first = 0;
  std::string record;
};

struct Counts {
  uint64_t executions = 0, bytes = 0, decoded = 0, rejected = 0, instructions = 0, tables = 0, loops = 0, calls_spliced = 0, analysed = 0;
};

// For the signal handler.
char what_runs[128];

void OnSignal(int number) {
  const char* why = number == SIGPROF ? "hangs: " : "crashes: ";
  if (write(STDERR_FILENO, why, std::strlen(why)) < 0 || write(STDERR_FILENO, what_runs, std::strlen(what_runs)) < 0) {
    _exit(3);
  }
  _exit(1);
}

/// Of processor time, so that a busy machine is no hang; 0: as many as it takes.
void AllowSeconds(unsigned seconds) {
  const itimerval limit{{0, 0}, {static_cast<time_t>(seconds), 0}};
  setitimer(ITIMER_PROF, &limit, nullptr);
}

void InstallHandlers() {
#ifdef __SANITIZE_ADDRESS__
  __asan_set_death_callback([] { OnSignal(SIGABRT); });
  signal(SIGPROF, OnSignal);
#else
  for (const int number : {SIGPROF, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP}) signal(number, OnSignal);
#endif
}

class Fuzzer {
 public:
  explicit Fuzzer(const Options& options) : options_(options) {}

  /// False on a finding.
  bool Run() {
    for (uint64_t i = options_.first; i < options_.first + options_.executions; ++i) {
      std::snprintf(what_runs, sizeof(what_runs), "--seed %llu --first %llu --executions 1\n",
                    static_cast<unsigned long long>(options_.seed), static_cast<unsigned long long>(i));
      std::mt19937_64 random(options_.seed * 0x9e3779b97f4a7c15 + i);
      const FuzzInput input = mutator_.Make(random);
      AllowSeconds(kHangSeconds);
      const std::string finding = Execute(input, random());
      AllowSeconds(0);
      ++counts_.executions;
      if (finding.empty()) continue;
      fmt::print("finding: {}\n{}bytes: {:02x}\n", finding, what_runs, fmt::join(input.code, " "));
      return false;
    }
    return true;
  }

  const Counts& counts() const { return counts_; }
  const LiftTarget& lifter() const { return lifter_; }
  const CodeMutator& mutator() const { return mutator_; }

 private:
  std::string Execute(const FuzzInput& input, uint64_t choice) {
    counts_.bytes += input.code.size();
    const std::span<const uint8_t> code = memory_.Place(input.code, (choice & 1) != 0);
    const InputReader reader(input, code, (choice & 6) != 0);

    // Straight on the guarded bytes: DecodeFunction works on a copy of its own.
    const auto reachable = FindReachableCode(code, input.base, {});
    const auto function = DecodeFunction(reader, reader.bounds());
    if (!function.has_value()) {
      ++counts_.rejected;
      return function.error().detail.empty() ? "a rejection without words" : "";
    }
    if (!reachable.has_value()) return "decoded what has no reachable code";
    ++counts_.decoded;
    const DecodedFunction& decoded = (*function)->decoded();
    counts_.instructions += decoded.instructions.size();
    counts_.tables += decoded.jump_tables.size();
    if (std::string broken = BrokenInvariant(decoded); !broken.empty()) return broken;
    counts_.loops += decoded.loops.size();
    for (size_t l = 0; l < decoded.loops.size(); ++l) {
      const auto loop = static_cast<LoopId>(l);
      const auto spliced = SpliceCallees(reader, **function, loop, &IsSupported);
        counts_.calls_spliced += static_cast<uint64_t>(std::ranges::count_if(
          spliced->decoded().blocks, [](const BasicBlock& block) { return block.end_kind == BlockEnd::kEnter; }));
      const auto facts = AnalyseLoop(spliced->decoded(), loop);
      if (!facts.has_value()) continue;
      ++counts_.analysed;
      if (std::string problem = lifter_.Lift(spliced->decoded(), *facts); !problem.empty()) return problem;
    }
    return "";
  }

  const Options& options_;
  const CodeMutator mutator_{{"libm.so.6", "libblas.so.3", "libc.so.6", "libstdc++.so.6"}};
  GuardedBytes memory_{kMostInputBytes};
  LiftTarget lifter_;
  Counts counts_;
};

/// The exit status when the command line ends it.
std::optional<int> Parse(int argc, char** argv, Options* options) {
  options->command = CommandLine(argc, argv);
  CLI::App app("Decoder and lifter on random and damaged machine code.", "code_fuzzer");
  app.add_option("--executions", options->executions)->capture_default_str();
  app.add_option("--seed", options->seed)->capture_default_str();
  app.add_option("--first", options->first, "Number of the first execution")->capture_default_str();
  app.add_option("--record", options->record, "Write what was run as JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return std::nullopt;
}

RunRecord Record(const Options& options, const Fuzzer& fuzzer, bool clean, double seconds) {
  const Counts& counts = fuzzer.counts();
  RunRecord record = NewRecord(options.command, options.seed);
#ifdef __SANITIZE_ADDRESS__
  record["build"] = "sanitizers";
#endif
  record["first"] = options.first;
  record["executions"] = counts.executions;
  record["findings"] = clean ? 0 : 1;
  record["seconds"] = std::round(seconds);
  record["bytes"] = counts.bytes;
  record["decoded"] = counts.decoded;
  record["rejected"] = counts.rejected;
  record["instructions"] = counts.instructions;
  record["jump_tables"] = counts.tables;
  record["loops"] = counts.loops;
  record["calls_spliced"] = counts.calls_spliced;
  record["loops_analysed"] = counts.analysed;
  record["loops_lifted"] = fuzzer.lifter().lifted();
  record["loops_not_lifted"] = fuzzer.lifter().rejected();
  record["functions_known"] = fuzzer.mutator().functions();
  record["instructions_known"] = fuzzer.mutator().instructions();
  return record;
}

int Main(int argc, char** argv) {
  Options options;
  if (const std::optional<int> status = Parse(argc, argv, &options)) return *status;
  Fuzzer fuzzer(options);
  InstallHandlers();
  const auto start = std::chrono::steady_clock::now();
  const bool clean = fuzzer.Run();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const RunRecord record = Record(options, fuzzer, clean, seconds);
  fmt::print("{}\n", record.dump());
  if (!WriteRecord(record, options.record)) return 2;
  return clean ? 0 : 1;
}

}  // namespace
}  // namespace tracelift::jit

int main(int argc, char** argv) { return tracelift::jit::Main(argc, argv); }

// code_fuzzer: decoder, control flow graph, liveness, loop facts and lifter on random and damaged machine code. Nothing
// may crash, hang (10 s), break an invariant, make invalid IR, or read outside the bytes given.
//
//   code_fuzzer --executions N [--seed S] [--first K] [--record FILE]
//
// Execution number i depends on the seed and i only: `--first i --executions 1` repeats it, and processes with other
// ranges share a long run. A finding is printed with its bytes and ends the run with status 1.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "jit/code/decoded_function.h"
#include "jit/code/reachable_code.h"
#include "tests/jit/code/function_invariants.h"
#include "tests/jit/fuzz/code_mutator.h"
#include "tests/jit/fuzz/guarded_bytes.h"
#include "tests/jit/fuzz/lift_target.h"
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
  uint64_t executions = 0, bytes = 0, decoded = 0, rejected = 0, instructions = 0, loops = 0, analysed = 0;
};

// For the signal handler.
char what_runs[128];

void OnSignal(int number) {
  const char* why = number == SIGALRM ? "hangs: " : "crashes: ";
  if (write(STDERR_FILENO, why, std::strlen(why)) < 0 || write(STDERR_FILENO, what_runs, std::strlen(what_runs)) < 0) {
    _exit(3);
  }
  _exit(1);
}

void InstallHandlers() {
#ifdef __SANITIZE_ADDRESS__
  __asan_set_death_callback([] { OnSignal(SIGABRT); });
  signal(SIGALRM, OnSignal);
#else
  for (const int number : {SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP}) signal(number, OnSignal);
#endif
}

/// The bytes of one input, at addresses of a program far away; knows some functions to be memset or memmove.
class InputReader : public CodeReader {
 public:
  InputReader(std::span<const uint8_t> code, uint64_t base) : code_(code), base_(base) {}
  AddressRange bounds() const { return {base_, base_ + code_.size()}; }
  bool Read(uint64_t address, std::span<uint8_t> out) const override {
    if (address < base_ || address - base_ > code_.size() || out.size() > code_.size() - (address - base_)) {
      read_outside_ = true;
      return false;
    }
    std::memcpy(out.data(), code_.data() + (address - base_), out.size());
    return true;
  }
  bool IsConstant(uint64_t, size_t) const override { return false; }
  KnownCallee CalleeAt(uint64_t address) const override {
    if (address % 4 == 0) return KnownCallee::kMemset;
    return address % 4 == 1 ? KnownCallee::kMemmove : KnownCallee::kNone;
  }
  KnownCallee CalleeThrough(uint64_t address) const override { return CalleeAt(address); }
  bool read_outside() const { return read_outside_; }

 private:
  std::span<const uint8_t> code_;
  uint64_t base_;
  mutable bool read_outside_ = false;
};

class Fuzzer {
 public:
  explicit Fuzzer(const Options& options) : options_(options) {}

  /// False on a finding.
  bool Run() {
    for (uint64_t i = options_.first; i < options_.first + options_.executions; ++i) {
      std::snprintf(what_runs, sizeof(what_runs), "--seed %llu --first %llu --executions 1\n",
                    static_cast<unsigned long long>(options_.seed), static_cast<unsigned long long>(i));
      std::mt19937_64 random(options_.seed * 0x9e3779b97f4a7c15 + i);
      const std::vector<uint8_t> input = mutator_.Make(random);
      alarm(kHangSeconds);
      const std::string finding = Execute(input, random());
      alarm(0);
      ++counts_.executions;
      if (finding.empty()) continue;
      fmt::print("finding: {}\n{}bytes: {:02x}\n", finding, what_runs, fmt::join(input, " "));
      return false;
    }
    return true;
  }

  const Counts& counts() const { return counts_; }
  const LiftTarget& lifter() const { return lifter_; }
  const CodeMutator& mutator() const { return mutator_; }

 private:
  std::string Execute(const std::vector<uint8_t>& input, uint64_t choice) {
    counts_.bytes += input.size();
    const std::span<const uint8_t> code = memory_.Place(input, (choice & 1) != 0);
    const uint64_t base = (choice & 6) == 0 ? 0x10 : 0x5555'0000'0000 + (choice >> 3) % 4096;
    const InputReader reader(code, base);

    // Straight on the guarded bytes: DecodeFunction works on a copy of its own.
    const auto reachable = FindReachableCode(code, base, {});
    const auto function = DecodeFunction(reader, reader.bounds());
    if (reader.read_outside()) return "reads outside the function";
    if (!function.has_value()) {
      ++counts_.rejected;
      return function.error().detail.empty() ? "a rejection without words" : "";
    }
    if (!reachable.has_value()) return "decoded what has no reachable code";
    ++counts_.decoded;
    const DecodedFunction& decoded = (*function)->decoded();
    counts_.instructions += decoded.instructions.size();
    if (std::string broken = BrokenInvariant(decoded); !broken.empty()) return broken;
    counts_.loops += decoded.loops.size();
    for (size_t l = 0; l < decoded.loops.size(); ++l) {
      const auto facts = AnalyseLoop(decoded, static_cast<LoopId>(l));
      if (!facts.has_value()) continue;
      ++counts_.analysed;
      if (std::string problem = lifter_.Lift(decoded, *facts); !problem.empty()) return problem;
    }
    return "";
  }

  const Options& options_;
  const CodeMutator mutator_{{"libm.so.6", "libblas.so.3", "libc.so.6", "libstdc++.so.6"}};
  GuardedBytes memory_{kMostInputBytes};
  LiftTarget lifter_;
  Counts counts_;
};

[[noreturn]] void Usage() {
  std::fputs("code_fuzzer --executions N [--seed S] [--first K] [--record FILE]\n", stderr);
  std::exit(2);
}

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 0; i < argc; ++i) options.command += (i == 0 ? "" : " ") + std::string(argv[i]);
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) Usage();
    const std::string name = argv[i];
    const uint64_t number = std::strtoull(argv[i + 1], nullptr, 10);
    if (name == "--executions") {
      options.executions = number;
    } else if (name == "--seed") {
      options.seed = number;
    } else if (name == "--first") {
      options.first = number;
    } else if (name == "--record") {
      options.record = argv[i + 1];
    } else {
      Usage();
    }
  }
  return options;
}

std::string Record(const Options& options, const Fuzzer& fuzzer, bool clean, double seconds) {
  const Counts& counts = fuzzer.counts();
  return fmt::format(
      "{{\"command\": \"{}\", \"seed\": {}, \"first\": {}, \"executions\": {}, \"findings\": {}, \"seconds\": {:.1f},\n"
      " \"bytes\": {}, \"decoded\": {}, \"rejected\": {}, \"instructions\": {}, \"loops\": {}, \"loops_analysed\": "
      "{},\n"
      " \"loops_lifted\": {}, \"loops_not_lifted\": {}, \"functions_known\": {}, \"instructions_known\": {}}}\n",
      options.command, options.seed, options.first, counts.executions, clean ? 0 : 1, seconds, counts.bytes,
      counts.decoded, counts.rejected, counts.instructions, counts.loops, counts.analysed, fuzzer.lifter().lifted(),
      fuzzer.lifter().rejected(), fuzzer.mutator().functions(), fuzzer.mutator().instructions());
}

int Main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  Fuzzer fuzzer(options);
  InstallHandlers();
  const auto start = std::chrono::steady_clock::now();
  const bool clean = fuzzer.Run();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::string record = Record(options, fuzzer, clean, seconds);
  std::fputs(record.c_str(), stdout);
  if (!options.record.empty()) {
    std::ofstream file(options.record);
    file << record;
    if (!file.flush()) return 2;
  }
  return clean ? 0 : 1;
}

}  // namespace
}  // namespace tracelift::jit

int main(int argc, char** argv) { return tracelift::jit::Main(argc, argv); }

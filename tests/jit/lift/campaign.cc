// lift_campaign: the lifter against this CPU over all supported instruction forms, for as many states as asked for,
// with a record of what was run.
//
//   lift_campaign --comparisons N [--seed S] [--record FILE] [--only TEXT] [--cases FOLDER]
//   lift_campaign --comparisons N --plant lzcnt=bsr
//
// With --plant, snippets of the first mnemonic are lifted as if they were the second: a bug on purpose. The command
// then succeeds when every one of them is caught. Otherwise it succeeds when nothing differs.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "tests/jit/lift/differential.h"
#include "tests/jit/lift/instruction_forms.h"
#include "tests/jit/lift/snippet.h"

namespace tracelift::jit {
namespace {

constexpr size_t kSnippetsAtOnce = 200;  // bounds the size of the modules that LLVM compiles
constexpr size_t kSnippetsPerForm = 2;
constexpr int kVariantsAtLeast = 2;

struct Options {
  std::string command;
  uint64_t comparisons = 1000000;
  uint64_t seed = 1;
  std::string record;
  std::string only;
  std::string cases = TL_CASES;
  std::string plant_from, plant_to;
};

struct Totals {
  DifferentialResult sum;
  size_t snippets = 0;
  int states = 0;
  double seconds = 0;
};

[[noreturn]] void Usage() {
  std::fputs("lift_campaign --comparisons N [--seed S] [--record FILE] [--only TEXT] [--cases FOLDER] [--plant A=B]\n",
             stderr);
  std::exit(2);
}

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 0; i < argc; ++i) options.command += (i == 0 ? "" : " ") + std::string(argv[i]);
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) Usage();
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--comparisons") {
      options.comparisons = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--seed") {
      options.seed = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--record") {
      options.record = value;
    } else if (name == "--only") {
      options.only = value;
    } else if (name == "--cases") {
      options.cases = value;
    } else if (name == "--plant" && value.find('=') != std::string::npos) {
      options.plant_from = value.substr(0, value.find('='));
      options.plant_to = value.substr(value.find('=') + 1);
      options.only = options.plant_from;
    } else {
      Usage();
    }
  }
  return options;
}

std::vector<Snippet> Collect(const Options& options) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(options.cases)) {
    if (entry.path().extension() == ".cases" && entry.path().stem() != "declined")
      files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> texts;
  for (const std::string& file : files) {
    for (std::string& text : ReadCases(file)) texts.push_back(std::move(text));
  }
  // Those of bytes cannot be planted in: both mnemonics would have to be spelled.
  if (options.plant_from.empty()) {
    for (std::string& text : EncodedForms(options.seed, kSnippetsPerForm)) texts.push_back(std::move(text));
  }
  std::vector<Snippet> snippets;
  for (std::string& text : texts) {
    if (text.find(options.only) == std::string::npos) continue;
    std::string lifted = text;
    if (!options.plant_from.empty()) {
      lifted.replace(lifted.find(options.plant_from), options.plant_from.size(), options.plant_to);
    }
    snippets.push_back({std::move(text), std::move(lifted)});
  }
  return snippets;
}

void Add(const DifferentialResult& part, DifferentialResult* sum) {
  sum->comparisons += part.comparisons;
  sum->nan_differences += part.nan_differences;
  sum->faults += part.faults;
  sum->declined += part.declined;
  sum->mismatches.insert(sum->mismatches.end(), part.mismatches.begin(), part.mismatches.end());
  sum->not_lifted.insert(sum->not_lifted.end(), part.not_lifted.begin(), part.not_lifted.end());
  for (const auto& [mnemonic, count] : part.comparisons_of) sum->comparisons_of[mnemonic] += count;
  if (sum->failure.empty()) sum->failure = part.failure;
}

Totals Run(const Options& options, const std::vector<Snippet>& snippets) {
  const auto start = std::chrono::steady_clock::now();
  Totals totals;
  totals.snippets = snippets.size();
  const uint64_t runs = std::max<uint64_t>(1, snippets.size() * kVariantsAtLeast);
  totals.states = static_cast<int>((options.comparisons + runs - 1) / runs);
  for (size_t first = 0; first < snippets.size() && totals.sum.failure.empty(); first += kSnippetsAtOnce) {
    const size_t last = std::min(first + kSnippetsAtOnce, snippets.size());
    const std::vector<Snippet> part(snippets.begin() + static_cast<ptrdiff_t>(first),
                                    snippets.begin() + static_cast<ptrdiff_t>(last));
    // Chunks draw from seeds far apart.
    Add(RunDifferential(part, {.states = totals.states, .seed = options.seed * 100003 + first}), &totals.sum);
    fmt::print(stderr, "{} of {} snippets, {} comparisons, {} mismatches\n", last, snippets.size(),
               totals.sum.comparisons, totals.sum.mismatches.size());
  }
  totals.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return totals;
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + "\"";
}

std::string OutputOf(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return output;
  for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
  pclose(pipe);
  while (!output.empty() && output.back() == '\n') output.pop_back();
  return output;
}

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

std::string Commit() {
  const std::string git = std::string("git -C '") + TL_SOURCE + "' ";
  const std::string hash = OutputOf(git + "rev-parse HEAD 2>/dev/null");
  if (hash.empty()) return "unknown";
  return hash + (OutputOf(git + "status --porcelain -- jit tests/jit 2>/dev/null").empty() ? "" : " with changes");
}

std::string Record(const Options& options, const Totals& totals) {
  const DifferentialResult& sum = totals.sum;
  std::string text = "{\n";
  text += fmt::format("  \"command\": {},\n  \"seed\": {},\n  \"commit\": {},\n", Quoted(options.command), options.seed,
                      Quoted(Commit()));
  text += fmt::format("  \"machine\": {{\"processor\": {}, \"threads\": {}}},\n  \"seconds\": {:.1f},\n",
                      Quoted(ProcessorName()), sysconf(_SC_NPROCESSORS_ONLN), totals.seconds);
  text += fmt::format("  \"snippets\": {},\n  \"states_per_snippet\": {},\n  \"comparisons\": {},\n", totals.snippets,
                      totals.states, sum.comparisons);
  text += fmt::format("  \"other_nan_bits\": {},\n  \"divide_faults\": {},\n  \"declined_divisions\": {},\n",
                      sum.nan_differences, sum.faults, sum.declined);
  text += fmt::format("  \"failure\": {},\n  \"mismatches\": [", Quoted(sum.failure));
  for (size_t i = 0; i < sum.mismatches.size(); ++i) {
    const Mismatch& one = sum.mismatches[i];
    text += fmt::format("{}\n    {{\"snippet\": {}, \"variant\": {}, \"difference\": {}}}", i == 0 ? "" : ",",
                        Quoted(one.snippet), Quoted(one.variant), Quoted(one.difference));
  }
  text += "],\n  \"not_lifted\": [";
  for (size_t i = 0; i < sum.not_lifted.size(); ++i) text += (i == 0 ? "" : ", ") + Quoted(sum.not_lifted[i]);
  text += fmt::format("],\n  \"mnemonics\": {},\n  \"comparisons_of\": {{", sum.comparisons_of.size());
  bool first = true;
  for (const auto& [mnemonic, count] : sum.comparisons_of) {
    text += fmt::format("{}\n    {}: {}", first ? "" : ",", Quoted(mnemonic), count);
    first = false;
  }
  return text + "\n  }\n}\n";
}

int Judge(const Options& options, const Totals& totals) {
  const DifferentialResult& sum = totals.sum;
  for (const Mismatch& one : sum.mismatches) {
    fmt::print("{} ({}): {}\n", one.snippet, one.variant, one.difference);
  }
  for (const std::string& one : sum.not_lifted) fmt::print("not lifted: {}\n", one);
  if (!sum.failure.empty()) fmt::print("failed: {}\n", sum.failure);
  fmt::print(
      "{} comparisons of {} snippets with {} mnemonics, seed {}: {} mismatches, {} not lifted; {} with other NaN "
      "bits, {} divide faults, {} divisions declined; {:.0f} s\n",
      sum.comparisons, totals.snippets, sum.comparisons_of.size(), options.seed, sum.mismatches.size(),
      sum.not_lifted.size(), sum.nan_differences, sum.faults, sum.declined, totals.seconds);
  if (!sum.failure.empty() || !sum.not_lifted.empty() || totals.snippets == 0) return 1;
  if (options.plant_from.empty()) return sum.mismatches.empty() ? 0 : 1;
  std::set<std::string> caught;
  for (const Mismatch& one : sum.mismatches) caught.insert(one.snippet);
  fmt::print("planted {} as {}: caught in {} of {} snippets\n", options.plant_from, options.plant_to, caught.size(),
             totals.snippets);
  return caught.size() == totals.snippets ? 0 : 1;
}

int Main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  const Totals totals = Run(options, Collect(options));
  if (!options.record.empty()) {
    std::ofstream file(options.record);
    file << Record(options, totals);
    if (!file.flush()) {
      fmt::print(stderr, "{}: cannot be written\n", options.record);
      return 2;
    }
  }
  return Judge(options, totals);
}

}  // namespace
}  // namespace tracelift::jit

int main(int argc, char** argv) { return tracelift::jit::Main(argc, argv); }

// lift_campaign: the lifter against this CPU over all supported instruction forms, for as many states as asked for,
// with a record of what was run.
//
//   lift_campaign --comparisons N [--seed S] [--record FILE] [--only TEXT] [--cases FOLDER] [--interpreted-states N]
//                [--float-modes]
//   lift_campaign --comparisons N --plant lzcnt=bsr
//
// With --plant, snippets of the first mnemonic are lifted as if they were the second: a bug on purpose. The command
// then succeeds when every one of them is caught interpreted, compiled, and optimised. Otherwise it succeeds when
// nothing differs. Forms whose IR LLVM's interpreter does not know are only run compiled; the record names them.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/jit/lift/differential.h"
#include "tests/jit/lift/instruction_forms.h"
#include "tests/jit/lift/snippet.h"
#include "tests/jit/run_record.h"

namespace tracelift::jit {
namespace {

constexpr size_t kSnippetsAtOnce = 200;  // bounds the size of the modules that LLVM compiles
constexpr size_t kSnippetsPerForm = 2;
constexpr int kCompiledVariantsAtLeast = 2;

struct Options {
  std::string command;
  uint64_t comparisons = 1000000;
  int interpreted_states = 100;
  uint64_t seed = 1;
  bool float_modes = false;
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

/// The exit status when the command line ends it.
std::optional<int> Parse(int argc, char** argv, Options* options) {
  options->command = CommandLine(argc, argv);
  CLI::App app("The lifter against this CPU over all supported instruction forms.", "lift_campaign");
  std::string plant;
  app.add_option("--comparisons", options->comparisons, "Compiled states to compare, about")->capture_default_str();
  app.add_option("--interpreted-states", options->interpreted_states, "Per snippet, at most")->capture_default_str();
  app.add_option("--seed", options->seed)->capture_default_str();
  app.add_flag("--float-modes", options->float_modes, "Each state under another rounding mode, FTZ and DAZ");
  app.add_option("--record", options->record, "Write what was run as JSON");
  app.add_option("--only", options->only, "Only snippets that contain this text");
  app.add_option("--cases", options->cases, "Folder of .cases files");
  app.add_option("--plant", plant, "A=B: lift A as if it were B; succeed when each is caught")
      ->check([](const std::string& text) { return text.find('=') == std::string::npos ? "not of the form A=B" : ""; });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  if (plant.empty()) return std::nullopt;
  options->plant_from = plant.substr(0, plant.find('='));
  options->plant_to = plant.substr(plant.find('=') + 1);
  options->only = options->plant_from;
  return std::nullopt;
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
      const size_t at = text.find(options.plant_from);
      if (at > 0 && std::isalnum(static_cast<unsigned char>(text[at - 1])) != 0) continue;  // vplzcntd is another one
      lifted.replace(at, options.plant_from.size(), options.plant_to);
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
  sum->not_interpreted.insert(part.not_interpreted.begin(), part.not_interpreted.end());
  for (const auto& [variant, count] : part.comparisons_in) sum->comparisons_in[variant] += count;
  for (const auto& [mnemonic, counts] : part.mnemonics) {
    sum->mnemonics[mnemonic].snippets += counts.snippets;
    for (const auto& [variant, count] : counts.comparisons_in) sum->mnemonics[mnemonic].comparisons_in[variant] += count;
  }
  if (sum->failure.empty()) sum->failure = part.failure;
}

Totals Run(const Options& options, const std::vector<Snippet>& snippets) {
  const auto start = std::chrono::steady_clock::now();
  Totals totals;
  totals.snippets = snippets.size();
  const uint64_t runs = std::max<uint64_t>(1, snippets.size() * kCompiledVariantsAtLeast);
  totals.states = static_cast<int>((options.comparisons + runs - 1) / runs);
  for (size_t first = 0; first < snippets.size() && totals.sum.failure.empty(); first += kSnippetsAtOnce) {
    const size_t last = std::min(first + kSnippetsAtOnce, snippets.size());
    const std::vector<Snippet> part(snippets.begin() + static_cast<ptrdiff_t>(first),
                                    snippets.begin() + static_cast<ptrdiff_t>(last));
    // Chunks draw from seeds far apart.
    Add(RunDifferential(part, {.states = totals.states,
                               .interpreted_states = options.interpreted_states,
                               .seed = options.seed * 100003 + first,
                               .float_modes = options.float_modes}),
        &totals.sum);
    fmt::print(stderr, "{} of {} snippets, {} comparisons, {} mismatches\n", last, snippets.size(),
               totals.sum.comparisons, totals.sum.mismatches.size());
  }
  totals.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return totals;
}

RunRecord Record(const Options& options, const Totals& totals) {
  const DifferentialResult& sum = totals.sum;
  RunRecord record = NewRecord(options.command, options.seed);
  record["seconds"] = std::round(totals.seconds);
  record["snippets"] = totals.snippets;
  record["states_per_snippet"] = totals.states;
  record["comparisons"] = sum.comparisons;
  record["comparisons_in"] = sum.comparisons_in;
  record["other_nan_bits"] = sum.nan_differences;
  record["divide_faults"] = sum.faults;
  record["declined_divisions"] = sum.declined;
  record["failure"] = sum.failure;
  record["mismatches"] = RunRecord::array();
  for (const Mismatch& one : sum.mismatches) {
    record["mismatches"].push_back(
        {{"snippet", one.snippet}, {"variant", one.variant}, {"difference", one.difference}});
  }
  record["not_lifted"] = sum.not_lifted;
  record["not_interpreted"] = sum.not_interpreted;
  record["mnemonics"] = RunRecord::object();
  for (const auto& [mnemonic, counts] : sum.mnemonics) {
    RunRecord& one = record["mnemonics"][mnemonic];
    one["snippets"] = counts.snippets;
    for (const auto& [variant, count] : counts.comparisons_in) one[variant] = count;
  }
  return record;
}

/// Whether the planted bug was seen in every snippet, in each of the ways that all snippets are run.
bool IsCaughtEverywhere(const Options& options, const Totals& totals) {
  bool all = true;
  for (int v = 0; v < kPlainVariants; ++v) {
    const bool interpreted = v == static_cast<int>(Variant::kPlainInterpreted);
    if (interpreted && options.float_modes) continue;
    std::set<std::string> caught;
    for (const Mismatch& one : totals.sum.mismatches) {
      if (one.variant == kVariantNames[v]) caught.insert(one.snippet);
    }
    const size_t wanted = totals.snippets - (interpreted ? totals.sum.not_interpreted.size() : 0);
    fmt::print("planted {} as {}, {}: caught in {} of {} snippets\n", options.plant_from, options.plant_to,
               kVariantNames[v], caught.size(), wanted);
    all &= wanted > 0 && caught.size() == wanted;
  }
  return all;
}

int Judge(const Options& options, const Totals& totals) {
  const DifferentialResult& sum = totals.sum;
  for (const Mismatch& one : sum.mismatches) {
    fmt::print("{} ({}): {}\n", one.snippet, one.variant, one.difference);
  }
  for (const std::string& one : sum.not_lifted) fmt::print("not lifted: {}\n", one);
  if (!sum.failure.empty()) fmt::print("failed: {}\n", sum.failure);
  fmt::print(
      "{} comparisons of {} snippets with {} mnemonics, seed {}: {} mismatches, {} not lifted, {} not interpreted; {} "
      "with other NaN bits, {} divide faults, {} divisions declined; {:.0f} s\n",
      sum.comparisons, totals.snippets, sum.mnemonics.size(), options.seed, sum.mismatches.size(),
      sum.not_lifted.size(), sum.not_interpreted.size(), sum.nan_differences, sum.faults, sum.declined, totals.seconds);
  if (!sum.failure.empty() || !sum.not_lifted.empty() || totals.snippets == 0) return 1;
  if (options.plant_from.empty()) return sum.mismatches.empty() ? 0 : 1;
  return IsCaughtEverywhere(options, totals) ? 0 : 1;
}

int Main(int argc, char** argv) {
  Options options;
  if (const std::optional<int> status = Parse(argc, argv, &options)) return *status;
  const Totals totals = Run(options, Collect(options));
  if (!WriteRecord(Record(options, totals), options.record)) return 2;
  return Judge(options, totals);
}

}  // namespace
}  // namespace tracelift::jit

int main(int argc, char** argv) { return tracelift::jit::Main(argc, argv); }

#include "offload/cli/coverage_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace tracelift::offload {
namespace {

constexpr int kFormatVersion = 1;
constexpr size_t kMostForms = 20;  // in the table; JSON has all

constexpr std::array<const char*, kTlFloatUses> kNames = {"integer", "scalar_float", "vector_float"};
constexpr std::array<const char*, kTlFloatUses> kTitles = {"integer only", "scalar float", "vector float"};
constexpr std::array<TlFloatUse, kTlFloatUses> kOrder = {kTlFloatVector, kTlFloatScalar, kTlFloatNone};

std::string Percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? "-" : fmt::format("{:.1f}%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string Line(const char* title, const LoopCount& count) {
  return fmt::format("  {:<14}{:>9}{:>10}{:>8}{:>15}{:>10}{:>8}\n", title, count.loops, count.liftable_loops,
                     Percent(count.liftable_loops, count.loops), count.instructions, count.liftable_instructions,
                     Percent(count.liftable_instructions, count.instructions));
}

/// Entries of a map, those with the most loops first, equal ones by name.
template <typename Count>
std::vector<std::pair<std::string, Count>> MostFirst(const std::map<std::string, Count>& counts) {
  std::vector<std::pair<std::string, Count>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second.loops > b.second.loops; });
  return sorted;
}

std::string RenderReasons(const Coverage& coverage) {
  if (coverage.reasons.empty()) return "";
  std::string text = fmt::format("  {:<24}{:>9}{:>14}\n", "reasons against", "loops", "instructions");
  for (const auto& [name, count] : MostFirst(coverage.reasons)) {
    text += fmt::format("  {:<24}{:>9}{:>14}   {}\n", name, count.loops, count.instructions, count.what);
  }
  return text;
}

std::string RenderForms(const Coverage& coverage) {
  if (coverage.forms.empty()) return "";
  std::string text = fmt::format("  {:<24}{:>9}{:>14}\n", "not lifted", "in loops", "alone in");
  const auto forms = MostFirst(coverage.forms);
  for (size_t i = 0; i < std::min(forms.size(), kMostForms); ++i) {
    text += fmt::format("  {:<24}{:>9}{:>14}\n", forms[i].first, forms[i].second.loops, forms[i].second.alone);
  }
  if (forms.size() > kMostForms) text += fmt::format("  and {} more; see --json\n", forms.size() - kMostForms);
  return text;
}

nlohmann::ordered_json ToJson(const LoopCount& count) {
  return {{"loops", count.loops},
          {"liftable_loops", count.liftable_loops},
          {"instructions", count.instructions},
          {"liftable_instructions", count.liftable_instructions}};
}

nlohmann::ordered_json ToJson(const Coverage& coverage) {
  nlohmann::ordered_json json = {{"functions", coverage.functions},
                                 {"function_bytes", coverage.function_bytes},
                                 {"unusable_entries", coverage.unusable_entries}};
  json["undecoded"] = nlohmann::ordered_json::array();
  for (const auto& [reason, count] : coverage.undecoded) {
    json["undecoded"].push_back({{"reason", reason}, {"functions", count.functions}, {"bytes", count.bytes}});
  }
  for (const TlFloatUse use : kOrder) json["classes"][kNames[use]] = ToJson(coverage.by_float_use[use]);
  json["classes"]["all"] = ToJson(coverage.All());
  json["classes"]["x87"] = ToJson(coverage.x87);
  json["reasons"] = nlohmann::ordered_json::array();
  for (const auto& [name, count] : MostFirst(coverage.reasons)) {
    json["reasons"].push_back(
        {{"reason", name}, {"what", count.what}, {"loops", count.loops}, {"instructions", count.instructions}});
  }
  json["not_lifted"] = nlohmann::ordered_json::array();
  for (const auto& [form, count] : MostFirst(coverage.forms)) {
    json["not_lifted"].push_back({{"form", form}, {"loops", count.loops}, {"alone", count.alone}});
  }
  return json;
}

nlohmann::ordered_json ToJson(const CoveredFile& file) {
  nlohmann::ordered_json json = {{"file", file.file}};
  if (!file.problem.empty()) {
    json["problem"] = file.problem;
    return json;
  }
  json.update(ToJson(file.coverage));
  json["rejected"] = nlohmann::ordered_json::array();
  for (const RejectedLoop& loop : file.coverage.rejected) {
    json["rejected"].push_back({{"function", loop.function},
                                {"header", loop.header},
                                {"depth", loop.depth},
                                {"instructions", loop.instructions},
                                {"class", kNames[loop.float_use]},
                                {"reason", loop.reason},
                                {"detail", loop.detail},
                                {"at", loop.at}});
  }
  return json;
}

}  // namespace

LoopCount& LoopCount::operator+=(const LoopCount& other) {
  loops += other.loops;
  liftable_loops += other.liftable_loops;
  instructions += other.instructions;
  liftable_instructions += other.liftable_instructions;
  return *this;
}

LoopCount Coverage::All() const {
  LoopCount all;
  for (const LoopCount& count : by_float_use) all += count;
  return all;
}

void Coverage::AddLoop(const TlCoveredLoop& loop) {
  const bool is_liftable = loop.reason == nullptr;
  const LoopCount count = {.loops = 1,
                           .liftable_loops = is_liftable ? 1u : 0u,
                           .instructions = loop.instructions,
                           .liftable_instructions = is_liftable ? loop.instructions : 0u};
  by_float_use[loop.float_use] += count;
  if (loop.uses_x87 != 0) x87 += count;
  if (is_liftable) return;
  ReasonCount& reason = reasons[loop.reason];
  reason.what = loop.what;
  ++reason.loops;
  reason.instructions += loop.instructions;
  const bool is_alone = loop.unlifted[0] != nullptr && loop.unlifted[1] == nullptr;
  for (const char* const* form = loop.unlifted; *form != nullptr; ++form) {
    ++forms[*form].loops;
    forms[*form].alone += is_alone ? 1 : 0;
  }
  rejected.push_back({.function = loop.function,
                      .header = loop.header,
                      .at = loop.at,
                      .depth = loop.depth,
                      .instructions = loop.instructions,
                      .float_use = loop.float_use,
                      .reason = loop.reason,
                      .detail = loop.detail});
}

void Coverage::AddUndecoded(const TlUndecodedFunction& function) {
  Undecoded& count = undecoded[function.reason];
  ++count.functions;
  count.bytes += function.bytes;
}

void Coverage::AddTotals(const TlCoverageTotals& totals) {
  functions += totals.functions;
  function_bytes += totals.function_bytes;
  unusable_entries += totals.unusable_entries;
}

Coverage& Coverage::operator+=(const Coverage& other) {
  functions += other.functions;
  function_bytes += other.function_bytes;
  unusable_entries += other.unusable_entries;
  for (size_t use = 0; use < by_float_use.size(); ++use) by_float_use[use] += other.by_float_use[use];
  x87 += other.x87;
  for (const auto& [name, count] : other.reasons) {
    ReasonCount& sum = reasons[name];
    sum.what = count.what;
    sum.loops += count.loops;
    sum.instructions += count.instructions;
  }
  for (const auto& [form, count] : other.forms) {
    forms[form].loops += count.loops;
    forms[form].alone += count.alone;
  }
  for (const auto& [reason, count] : other.undecoded) {
    undecoded[reason].functions += count.functions;
    undecoded[reason].bytes += count.bytes;
  }
  return *this;
}

Coverage SumOf(const std::vector<CoveredFile>& files) {
  Coverage sum;
  for (const CoveredFile& file : files) {
    if (file.problem.empty()) sum += file.coverage;
  }
  return sum;
}

std::string RenderCoverageTable(const std::string& name, const Coverage& coverage, CoverageScope scope) {
  const LoopCount all = coverage.All();
  const char* kind = scope.innermost_only ? "innermost loops" : "loops";
  std::string text = fmt::format("{}: {} functions, {} {}{}, {} can be lifted\n", name, coverage.functions, all.loops,
                                 kind, scope.floats_only ? " with floats" : "", Percent(all.liftable_loops, all.loops));
  text += fmt::format("  {:<14}{:>9}{:>10}{:>8}{:>15}{:>10}{:>8}\n", "", "loops", "liftable", "", "instructions",
                      "liftable", "");
  for (const TlFloatUse use : kOrder) {
    if (!scope.floats_only || use != kTlFloatNone) text += Line(kTitles[use], coverage.by_float_use[use]);
  }
  text += Line("all", all);
  if (coverage.x87.loops != 0) text += Line("of these x87", coverage.x87);
  text += RenderReasons(coverage) + RenderForms(coverage);
  for (const auto& [reason, count] : coverage.undecoded) {
    text += fmt::format("  {} functions ({} of {} bytes) were not decoded, their loops are not counted: {}\n",
                        count.functions, count.bytes, coverage.function_bytes, reason);
  }
  if (coverage.unusable_entries != 0) {
    text += fmt::format("  {} entries of the unwind tables are unusable, loops of those functions are not counted\n",
                        coverage.unusable_entries);
  }
  return text;
}

std::string RenderCoverageJson(const std::vector<CoveredFile>& files, CoverageScope scope) {
  nlohmann::ordered_json json = {{"version", kFormatVersion},
                                 {"loops", scope.innermost_only ? "innermost" : "all"},
                                 {"floats_only", scope.floats_only}};
  json["files"] = nlohmann::ordered_json::array();
  for (const CoveredFile& file : files) json["files"].push_back(ToJson(file));
  json["total"] = ToJson(SumOf(files));
  // A file name need not be UTF-8.
  return json.dump(2, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace tracelift::offload

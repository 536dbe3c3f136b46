// The report for people: one line of numbers per region, below it where the code is and why it stayed, then totals.
// Plain ASCII, no line longer than kWidth, control characters from the report's strings are shown as '?'.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "profiler/run_report.h"

namespace tracelift::profiler {
namespace {

constexpr size_t kWidth = 108;
constexpr size_t kWhereWidth = 40;

std::string Clean(std::string_view text) {
  std::string clean(text);
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return clean;
}

/// Keeps both ends, which tell most: "std::vector<...>::push_back+0x1c".
std::string Shorten(const std::string& text, size_t width) {
  if (text.size() <= width) return text;
  size_t tail = width / 2 - 1;
  return text.substr(0, width - 3 - tail) + "..." + text.substr(text.size() - tail);
}

std::string Duration(double ns) {
  if (!std::isfinite(ns)) return "-";
  double size = std::fabs(ns);
  auto number = [](double value) {
    double magnitude = std::fabs(value);
    return magnitude >= 1e6     ? fmt::format("{:.3g}", value)
           : magnitude >= 99.95 ? fmt::format("{:.0f}", value)
           : magnitude >= 9.995 ? fmt::format("{:.1f}", value)
                                : fmt::format("{:.2f}", value);
  };
  if (size < 999.5) return number(ns) + " ns";
  if (size < 999.5e3) return number(ns / 1e3) + " us";
  if (size < 999.5e6) return number(ns / 1e6) + " ms";
  return number(ns / 1e9) + " s";
}

/// "12.3 us +-4%": median, and the wider of the distances to the 10th and 90th percentile.
std::string Spread(const Timing& timing) {
  if (timing.count == 0 || !std::isfinite(timing.median_ns) || timing.median_ns <= 0) return "-";
  double wide = std::max(timing.high_ns - timing.median_ns, timing.median_ns - timing.low_ns) / timing.median_ns;
  std::string text = Duration(timing.median_ns);
  if (timing.count > 1 && std::isfinite(wide)) text += fmt::format(" +-{:.0f}%", std::clamp(wide * 100, 0.0, 999.0));
  return text;
}

std::string Gain(const RegionReport& region) {
  bool measured = region.native.count != 0 && region.variant.count != 0 && region.variant.median_ns > 0;
  double gain = measured ? region.native.median_ns / region.variant.median_ns : 0;
  if (!measured || !std::isfinite(gain)) return "-";
  return gain < 1e4 ? fmt::format("{:.2f}x", gain) : fmt::format("{:.0e}x", gain);
}

std::string BaseName(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string Place(const RegionReport& region) {
  std::string name = region.module.empty() ? "?" : BaseName(region.module);
  return fmt::format("{}+{:#x}", name, region.offset);
}

/// Appends `text` broken at spaces into lines that start with `indent` spaces.
void Wrap(std::string_view text, size_t indent, std::string* out) {
  std::string clean = Clean(text);
  std::string line(indent, ' ');
  bool empty = true;
  for (size_t at = 0; at < clean.size();) {
    size_t end = std::min(clean.find(' ', at), clean.size());
    std::string word = clean.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    if (!empty && line.size() + 1 + word.size() > kWidth) {
      *out += line + "\n";
      line.assign(indent + 2, ' ');
      empty = true;
    }
    for (; line.size() + word.size() > kWidth; line.assign(indent + 2, ' ')) {  // one word wider than the table
      size_t room = kWidth - line.size();
      *out += line + word.substr(0, room) + "\n";
      word.erase(0, room);
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
  }
  if (!empty) *out += line + "\n";
}

void WrapLines(std::string_view text, size_t indent, std::string* out) {
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    Wrap(text.substr(0, end), indent, out);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

void AddRow(std::string_view where, std::string_view share, std::string_view entries, std::string_view native,
            std::string_view variant, std::string_view gain, std::string_view place, std::string* out) {
  std::string row = fmt::format("{:<{}} {:>6} {:>8} {:>14} {:>14} {:>7} {:>9}", where, kWhereWidth, share, entries,
                                native, variant, gain, place);
  row.erase(row.find_last_not_of(' ') + 1);
  *out += row + "\n";
}

void AddRegion(const RegionReport& region, std::string* out) {
  std::string where = Clean(region.symbol.empty() ? Place(region) : region.symbol);
  AddRow(Shorten(where, kWhereWidth), fmt::format("{:.1f}%", region.sample_share * 100),
         region.executions == 0 ? "-" : fmt::format("{}", region.executions), Spread(region.native),
         Spread(region.variant), Gain(region), Shorten(Clean(region.place.empty() ? "home" : region.place), 13), out);

  std::string details = region.source;
  if (!region.symbol.empty()) {
    if (!details.empty()) details += ", ";
    details += Place(region);
  }
  if (!region.callers.empty()) {
    if (!details.empty()) details += ", ";
    std::vector<std::string> nearest(region.callers.begin(),
                                     region.callers.begin() + std::min<size_t>(region.callers.size(), 4));
    details += "called from " + Join(nearest, " < ");
  }
  Wrap(details, 2, out);

  std::string outcome = region.state.empty() ? "unknown state" : region.state;
  if (region.passes != 0) {
    outcome += fmt::format(": {} passes run elsewhere, {} saved", region.passes, Duration(region.time_saved_ns));
    outcome += region.verified != 0 ? fmt::format(", {} slices verified equal", region.verified) : "";
  }
  if (!region.transformation.empty()) outcome += ", " + region.transformation;
  if (region.heat_to_run_ms > 0) outcome += fmt::format(", first {} after it was hot", Duration(region.heat_to_run_ms * 1e6));
  if (region.from_cache != 0) outcome += ", from cache";
  if (!region.reason.empty()) outcome += fmt::format(": {}", region.reason);
  if (!region.reason_text.empty()) outcome += fmt::format(": {}", region.reason_text);
  Wrap(outcome, 2, out);

  for (const VariantReport& other : region.variants) {
    if (other.state == "runs") continue;
    Wrap(fmt::format("{}: {}{}", other.state, other.transformation.empty() ? "passes as they are" : other.transformation,
                     other.pass.count == 0 ? "" : ", " + Spread(other.pass) + " a pass"),
         2, out);
  }

  if (region.declines != 0) {
    std::vector<std::string> reasons;
    for (const auto& [name, count] : region.decline_reasons) reasons.push_back(fmt::format("{} x{}", name, count));
    Wrap(fmt::format("{} of {} entries left to the original code{}{}", region.declines,
                     region.declines + region.executions, reasons.empty() ? "" : ": ", Join(reasons, ", ")),
         2, out);
  }
}

void AddTotals(const RunReport& report, double listed_share, std::string* out) {
  double share = report.cpu_ms > 0 ? report.sampling_cost_ms / report.cpu_ms * 100 : 0;
  Wrap(fmt::format("sampling: {} samples{} from {}, cost {}{}", report.samples,
                   report.lost_samples == 0 ? "" : fmt::format(" ({} lost)", report.lost_samples),
                   report.sampling_source.empty() ? "nothing" : report.sampling_source,
                   Duration(report.sampling_cost_ms * 1e6),
                   std::isfinite(share) && report.cpu_ms > 0 ? fmt::format(" ({:.2f}% of CPU time)", share) : ""),
       0, out);
  if (!report.regions.empty() && listed_share < 0.9995) {
    Wrap(fmt::format("other code: {:.1f}% of the samples", (1 - listed_share) * 100), 0, out);
  }
  double lift = 0, analyse = 0, optimise = 0, emit = 0, fetch = 0;
  for (const RegionReport& region : report.regions) {
    lift += region.lift_ms;
    analyse += region.analyse_ms;
    optimise += region.optimise_ms;
    emit += region.emit_ms;
    fetch += region.fetch_ms;
  }
  if (report.load_ms != 0 || report.compile_ms != 0) {
    Wrap(fmt::format("compiling: {} (lift {}, analyse {}, optimise {}, emit {}), loading the runtime {}",
                     Duration(report.compile_ms * 1e6), Duration(lift * 1e6), Duration(analyse * 1e6),
                     Duration(optimise * 1e6), Duration(emit * 1e6), Duration(report.load_ms * 1e6)),
         0, out);
  }
  if (!report.cache.empty()) {
    const std::string looked_up = fetch > 0 ? fmt::format("; looked up in {}", Duration(fetch * 1e6)) : "";
    Wrap(fmt::format("cache: {}{}", report.cache, looked_up), 0, out);
  }
  Wrap(fmt::format("time saved: {} (estimate, against the original code's measured time)",
                   Duration(report.time_saved_ms * 1e6)),
       0, out);
}

}  // namespace

std::string RenderTable(const RunReport& report) {
  std::string out;
  Wrap(fmt::format("tracelift {}: {} (pid {})", report.tracelift_version,
                   Shorten(Clean(Join(report.command, " ")), 4 * kWidth), report.pid),
       0, &out);
  std::string machine = report.machine;
  if (!report.target_cpu.empty()) machine += (machine.empty() ? "" : "; ") + ("compiled for " + report.target_cpu);
  Wrap(Shorten(machine, 2 * kWidth), 0, &out);
  Wrap(fmt::format("{}; wall {}, CPU {}", report.state, Duration(report.wall_ms * 1e6), Duration(report.cpu_ms * 1e6)),
       0, &out);
  out += "\n";

  double listed_share = 0;
  if (report.regions.empty()) {
    Wrap("no hot loops were found", 0, &out);
  } else {
    std::vector<const RegionReport*> regions;
    for (const RegionReport& region : report.regions) {
      regions.push_back(&region);
      if (std::isfinite(region.sample_share)) listed_share += region.sample_share;
    }
    auto share = [](const RegionReport* r) { return std::isfinite(r->sample_share) ? r->sample_share : 0.0; };
    std::ranges::stable_sort(regions, [&](auto* a, auto* b) { return share(a) > share(b); });
    AddRow("region", "share", "entries", "native/pass", "new/pass", "gain", "place", &out);
    out += std::string(kWidth, '-') + "\n";
    for (const RegionReport* region : regions) AddRegion(*region, &out);
    out += std::string(kWidth, '-') + "\n";
  }
  AddTotals(report, listed_share, &out);
  if (!report.plan.empty()) {
    out += "plan:\n";
    WrapLines(report.plan, 2, &out);
  }
  for (const std::string& note : report.notes) Wrap("note: " + note, 0, &out);
  return out;
}

}  // namespace tracelift::profiler

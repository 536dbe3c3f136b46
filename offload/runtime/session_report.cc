// What the session tells the user.

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "offload/runtime/clock.h"
#include "offload/runtime/session.h"

namespace tracelift::offload {
namespace {

constexpr double kNsPerMs = 1e6;

profiler::Timing Summarise(const TimingRing& ring) {
  const std::vector<double> values = ring.Sorted();
  profiler::Timing timing;
  timing.count = ring.count();
  if (values.empty()) return timing;
  const auto at = [&](double quantile) { return values[static_cast<size_t>(quantile * static_cast<double>(values.size() - 1))]; };
  timing.median_ns = at(0.5);
  timing.low_ns = at(0.1);
  timing.high_ns = at(0.9);
  return timing;
}

std::vector<std::string> CommandLine() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  return words;
}

std::string MachineName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      const size_t colon = line.find(": ");
      return fmt::format("{}, {} cores", colon == std::string::npos ? line : line.substr(colon + 2),
                         sysconf(_SC_NPROCESSORS_ONLN));
    }
  }
  return "x86-64";
}

double CpuMs() {
  timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) * 1e3 + static_cast<double>(used.tv_nsec) / kNsPerMs;
}

// Time since the process started, from /proc/self/stat (clock ticks since boot) and the boot clock.
double WallMs() {
  std::ifstream file("/proc/self/stat");
  std::stringstream text;
  text << file.rdbuf();
  const std::string line = text.str();
  const size_t after_name = line.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(line.substr(after_name + 2));
  std::string field;
  constexpr int kStartTime = 22 - 3;  // fields before it, from "state" (the third) on
  for (int i = 0; i <= kStartTime; ++i) fields >> field;
  timespec boot;
  clock_gettime(CLOCK_BOOTTIME, &boot);
  const double ticks_ms = std::stod(field) * 1e3 / static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<double>(boot.tv_sec) * 1e3 + static_cast<double>(boot.tv_nsec) / kNsPerMs - ticks_ms;
}

// Written beside and renamed, so that a reader never sees half a report.
void ReplaceFile(const std::string& path, const std::string& text) {
  const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return;
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t n = write(fd, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    written += static_cast<size_t>(n);
  }
  close(fd);
  if (written == text.size()) {
    rename(temporary.c_str(), path.c_str());
  } else {
    unlink(temporary.c_str());
  }
}

std::string ReportPath(const TlConfig& config) {
  std::string path = config.report;
  if (path.empty()) return path;
  const std::string pid = std::to_string(getpid());
  if (const size_t at = path.find("%p"); at != std::string::npos) return path.replace(at, 2, pid);
  const bool other_process = config.root_pid != 0 && config.root_pid != getpid();
  return other_process ? path + "." + pid : path;
}

}  // namespace

uint64_t Session::SamplesOf(const Finding& finding) const {
  return hotspots_.In(finding.code);
}

void Session::DescribeLocation(Finding& finding) {
  if (finding.located) return;
  finding.located = true;
  const profiler::Module* module = modules_.Find(finding.address);
  if (!module) return;
  finding.module = module->path;
  finding.elf_address = module->ToElfAddress(finding.address);
  const profiler::CodeName name = symbolizer_.Lookup(module->path, finding.elf_address);
  finding.symbol = name.symbol;
  finding.source = name.source;
  const Function* function = FunctionAt(finding.address);
  if (!function) return;
  constexpr size_t kMostCallers = 5;
  for (const uint64_t address : function->callers) {
    const profiler::Module* caller = modules_.Find(address);
    if (!caller || finding.callers.size() == kMostCallers) break;
    finding.callers.push_back(symbolizer_.FunctionName(caller->path, caller->ToElfAddress(address - 1)));
  }
}

// How the passes are rearranged and what in, as the report says it.
static std::string TransformationOf(const jit::Artifact& artifact) {
  std::vector<std::string> parts;
  const jit::Wavefront& wavefront = artifact.reliance.wavefront;
  if (artifact.kernel) {
    const int dims = 1 + artifact.kernel->inner_dims;
    return fmt::format("a grid of {} dimension{}, copies of {} memories", dims, dims > 1 ? "s" : "", artifact.kernel->memories(artifact.footprint.windows.size()));
  }
  if (wavefront.lanes > 0) {
    parts.push_back(fmt::format("{} passes side by side in vectors, each {} iteration{} behind the one before it", wavefront.lanes,
                                wavefront.skew, wavefront.skew > 1 ? "s" : ""));
  } else if (artifact.reliance.lead.loop > 0) {
    parts.push_back("leading iterations of an inner loop side by side, the rest of the passes in order");
  } else if (artifact.parts > 0 && artifact.panel > 0) {
    parts.push_back(fmt::format("passes in order, panels of {} iterations side by side", artifact.panel));
  } else if (artifact.reliance.reads_first) {
    parts.push_back("passes in order, in vectors");
  } else if (artifact.panel > 0) {
    parts.push_back(fmt::format("panels of {} iterations for {} passes each", artifact.panel, artifact.batch));
    if (artifact.packed > 0) parts.push_back("of which the operand they share is copied side by side");
  } else if (artifact.lanes > 0) {
    const bool inner = !artifact.reliance.widened.empty();
    parts.push_back(fmt::format("{} {} side by side in vectors", artifact.lanes, inner ? "iterations of an inner loop" : "passes"));
  }
  const bool widens_passes = artifact.lanes > 0 && artifact.panel == 0 && artifact.reliance.widened.empty();
  const bool jammed = artifact.group > 1 && !widens_passes;
  if (jammed) parts.push_back(fmt::format("{} passes together", artifact.group));
  if (artifact.vector_bits > 0) parts.push_back(fmt::format("{}-bit vectors", artifact.vector_bits));
  if (artifact.relaxed) {
    const std::string means = artifact.relaxations.empty() ? "none of note" : fmt::format("{}", fmt::join(artifact.relaxations, ", "));
    parts.push_back(fmt::format("relaxed math: {}", means));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

// Contests are between code for the same values.
static std::string StateOf(const Variant& variant, const Finding& finding) {
  const Region& region = *finding.region;
  const Variant* published = region.variant.load();
  if (&variant == published || &variant == region.rival.load()) return "runs";
  return published && variant.artifact.guards == published->artifact.guards ? "slower" : "replaced";
}

profiler::RegionReport Session::Describe(const Finding& finding) const {
  profiler::RegionReport report;
  report.module = finding.module;
  report.offset = finding.elf_address;
  report.symbol = finding.symbol;
  report.source = finding.source;
  report.callers = finding.callers;
  report.samples = SamplesOf(finding);
  report.sample_share = hotspots_.total() ? static_cast<double>(report.samples) / static_cast<double>(hotspots_.total()) : 0;
  report.lift_ms = static_cast<double>(finding.times.lift_ns) / kNsPerMs;
  report.analyse_ms = static_cast<double>(finding.times.analyse_ns) / kNsPerMs;
  report.optimise_ms = static_cast<double>(finding.times.optimise_ns) / kNsPerMs;
  report.emit_ms = static_cast<double>(finding.times.emit_ns) / kNsPerMs;
  report.from_cache = finding.from_cache;
  report.fetch_ms = static_cast<double>(finding.fetch_ns) / kNsPerMs;
  report.place = "home";
  report.state = config_->profile_only ? "profiled" : "installed";
  if (finding.region) {
    const Region& region = *finding.region;
    const Variant* variant = region.variant.load();
    if (variant) report.ir = variant->artifact.ir;
    report.executions = region.executions.load();
    report.declines = region.declines.load();
    report.passes = region.passes.load();
    report.verified = region.verified.load();
    report.native = Summarise(region.native_timing);
    report.variant = Summarise(region.variant_timing);
    report.time_saved_ns = static_cast<double>(region.time_saved_ns.load());
    if (report.executions > 0) {
      report.state = "accelerated";
      report.place = variant->artifact.kernel ? region.device->link().name() : fmt::format("cpu x{}", pool_->threads());
      report.transformation = TransformationOf(variant->artifact);
      if (const uint64_t smaller = region.executions_on_cores.load(); smaller > 0) {
        report.transformation += fmt::format(", {} of the entries, too small for it, on the cores", smaller);
      }
      const double distance = region.distance.load(std::memory_order_relaxed);
      if (variant->artifact.relaxed) report.transformation += fmt::format(", results within {:.1g} of the original's", distance);
      const uint64_t hot_ns = hotspots_.TimeOfSample(finding.code, kFewestSamples);
      if (hot_ns > 0) report.heat_to_run_ms = (region.first_run_ns.load() - static_cast<double>(hot_ns)) / kNsPerMs;
    }
    for (const std::unique_ptr<Variant>& other : finding.variants) {
      report.variants.push_back({TransformationOf(other->artifact), StateOf(*other, finding), Summarise(other->slices)});
    }
    for (size_t i = 0; i < region.decline_reasons.size(); ++i) {
      if (const uint64_t count = region.decline_reasons[i].load()) {
        report.decline_reasons.emplace_back(jit::Name(static_cast<jit::RejectionReason>(i)), count);
      }
    }
  }
  if (finding.rejection) {
    report.state = report.executions > 0 ? "put-back" : "rejected";
    report.place = "home";
    report.reason = jit::Name(finding.rejection->reason);
    jit::Rejection rejection = *finding.rejection;
    if (const profiler::Module* module = modules_.Find(rejection.address)) {
      rejection.address = module->ToElfAddress(rejection.address);  // as disassemblers of the file show it
    }
    report.reason_text = jit::Describe(rejection);
  }
  return report;
}

profiler::RunReport Session::BuildReport() {
  profiler::RunReport report;
  report.tracelift_version = TRACELIFT_VERSION;
  report.command = CommandLine();
  report.pid = getpid();
  report.machine = MachineName();
  report.target_cpu = jit::HostCpuName();
  const char* off = off_reason_.load();
  report.state = off ? fmt::format("off: {}", off) : config_->profile_only ? "profiled" : "active";
  report.wall_ms = WallMs();
  report.cpu_ms = CpuMs();
  TlSamplingStats stats{};
  host_->stats(&stats);
  report.samples = hotspots_.total();
  report.lost_samples = stats.lost;
  report.sampling_source = stats.source;
  report.sampling_cost_ms = static_cast<double>(stats.cost_ns) / kNsPerMs;
  report.load_ms = static_cast<double>(host_->load_ns) / kNsPerMs;
  report.graph = graph_text_;
  report.plan = plan_text_;
  report.cache = cache_state_;
  report.notes = notes_;
  for (Finding& finding : findings_) {
    DescribeLocation(finding);
    report.regions.push_back(Describe(finding));
    report.compile_ms += static_cast<double>(finding.times.total_ns()) / kNsPerMs;
    report.time_saved_ms += report.regions.back().time_saved_ns / kNsPerMs;
  }
  std::stable_sort(report.regions.begin(), report.regions.end(),
                   [](const auto& a, const auto& b) { return a.samples > b.samples; });
  if (const DeviceCopies* copies = copies_.load()) {
    constexpr double kMib = 1 << 20;
    report.notes.push_back(fmt::format("device {}: {:.1f} MiB were sent to it, {:.1f} MiB that launches needed were there already", device_->name(),
                                       static_cast<double>(copies->sent_bytes()) / kMib, static_cast<double>(copies->stayed_bytes()) / kMib));
    if (copies->left_bytes() > 0) {
      report.notes.push_back(fmt::format("device {}: {:.1f} MiB of results stayed there, {:.1f} MiB came home when the program touched them", device_->name(),
                                         static_cast<double>(copies->left_bytes()) / kMib, static_cast<double>(copies->home_bytes()) / kMib));
    }
  }
  return report;
}

void Session::WriteReport(bool final) {
  const std::string path = ReportPath(*config_);
  const bool summary = final && config_->summary && (config_->root_pid == 0 || config_->root_pid == getpid());
  if (path.empty() && !summary) return;
  // At exit the other thread may be anywhere; a report is not worth waiting for it for long. The lock is held until the
  // file is there: the other thread may be writing its own, under the same name.
  if (!mutex_.try_lock_for(std::chrono::milliseconds(200))) return;
  const profiler::RunReport report = BuildReport();
  if (!path.empty()) ReplaceFile(path, profiler::ToJson(report));
  mutex_.unlock();
  if (summary) {
    const std::string table = profiler::RenderTable(report);
    if (write(STDERR_FILENO, table.data(), table.size()) < 0) return;
  }
}

void Session::AtExit() {
  if (host_->is_child()) return;
  WriteReport(/*final=*/true);
}

}  // namespace tracelift::offload

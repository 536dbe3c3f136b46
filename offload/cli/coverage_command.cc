// `tracelift coverage`: which loops of programs and libraries could be lifted. Opens the runtime library for its
// lifter; no other command pays for that.
#include <dlfcn.h>
#include <errno.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <expected>

#include "offload/cli/commands.h"
#include "offload/cli/coverage_summary.h"
#include "offload/cli/installation.h"

namespace tracelift::offload {
namespace {

constexpr int kExitProblem = 1;

std::expected<const TlCoverageTable*, std::string> OpenLifter() {
  const auto installation = FindInstallation();
  if (!installation) return std::unexpected(installation.error());
  const std::string& library = installation->runtime;
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return std::unexpected(fmt::format("{} cannot be opened: {}", library, dlerror()));
  const auto* table = static_cast<const TlCoverageTable*>(dlsym(handle, "tracelift_coverage_table"));
  if (table == nullptr || table->version != TL_COVERAGE_API_VERSION) {
    return std::unexpected(
        fmt::format("{} belongs to another version of tracelift; build or install tracelift again", library));
  }
  return table;
}

CoveredFile Examine(const TlCoverageTable& lifter, const std::string& path, CoverageScope scope) {
  struct Collector {
    Coverage coverage;
    bool floats_only;
  } collector{{}, scope.floats_only};
  const TlCoverageSink sink = {
      .context = &collector,
      .on_loop =
          [](void* context, const TlCoveredLoop* loop) {
            auto* to = static_cast<Collector*>(context);
            if (!to->floats_only || loop->float_use != kTlFloatNone) to->coverage.AddLoop(*loop);
          },
      .on_undecoded =
          [](void* context, const TlUndecodedFunction* function) {
            static_cast<Collector*>(context)->coverage.AddUndecoded(*function);
          },
  };
  TlCoverageTotals totals{};
  char problem[512] = "";
  if (lifter.examine(path.c_str(), scope.innermost_only, &sink, &totals, problem, sizeof(problem)) == 0) {
    return {path, problem, {}};
  }
  collector.coverage.AddTotals(totals);
  return {path, "", std::move(collector.coverage)};
}

bool Print(const std::string& text) {
  if (fwrite(text.data(), 1, text.size(), stdout) == text.size() && fflush(stdout) == 0) return true;
  fmt::print(stderr, "tracelift: standard output: {}\n", strerror(errno));
  return false;
}

}  // namespace

int CoverageCommand(const CoverageOptions& options) {
  const auto lifter = OpenLifter();
  if (!lifter) {
    fmt::print(stderr, "tracelift: {}\n", lifter.error());
    return kExitProblem;
  }
  const CoverageScope scope{.innermost_only = options.innermost_only, .floats_only = options.floats_only};
  std::vector<CoveredFile> files;
  int status = 0;
  for (const std::string& path : options.files) {
    files.push_back(Examine(**lifter, path, scope));
    const CoveredFile& file = files.back();
    if (!file.problem.empty()) {
      fmt::print(stderr, "tracelift: {}: {}\n", path, file.problem);
      status = kExitProblem;
    } else if (!options.json && !Print(RenderCoverageTable(path, file.coverage, scope))) {
      return kExitProblem;
    }
  }
  if (options.json) return Print(RenderCoverageJson(files, scope)) ? status : kExitProblem;
  const auto examined = std::ranges::count_if(files, [](const CoveredFile& file) { return file.problem.empty(); });
  if (examined > 1 && !Print(RenderCoverageTable(fmt::format("{} files", examined), SumOf(files), scope))) {
    return kExitProblem;
  }
  return status;
}

}  // namespace tracelift::offload

#include <errno.h>
#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "offload/cli/commands.h"
#include "profiler/run_report.h"

namespace tracelift::offload {

int ReportCommand(const std::string& file, bool json) {
  constexpr int kExitUnreadable = 1;
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream.is_open() || stream.bad()) {
    fmt::print(stderr, "tracelift: {}: {}\n", file, strerror(errno));
    return kExitUnreadable;
  }
  const auto report = profiler::FromJson(text);
  if (!report) {
    fmt::print(stderr, "tracelift: {}: {}\n", file, report.error());
    return kExitUnreadable;
  }
  const std::string shown = json ? profiler::ToJson(*report) : profiler::RenderTable(*report);
  if (fwrite(shown.data(), 1, shown.size(), stdout) != shown.size() || fflush(stdout) != 0) {
    fmt::print(stderr, "tracelift: standard output: {}\n", strerror(errno));
    return kExitUnreadable;
  }
  return 0;
}

}  // namespace tracelift::offload

#include "offload/cli/installation.h"

#include <fmt/format.h>

#include <filesystem>

namespace tracelift::offload {

std::expected<Installation, std::string> FindInstallation() {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path own = fs::read_symlink("/proc/self/exe", error);
  if (error) return std::unexpected("cannot read /proc/self/exe to find libtracelift.so; is /proc mounted?");
  const fs::path folder = own.parent_path();
  for (const fs::path& candidate : {folder.parent_path() / "lib", folder}) {
    const fs::path preload = candidate / "libtracelift.so";
    if (!fs::exists(preload, error)) continue;
    const fs::path runtime = candidate / "libtracelift_runtime.so";
    if (!fs::exists(runtime, error)) {
      return std::unexpected(fmt::format("{} is missing beside libtracelift.so; build or install tracelift again",
                                         runtime.string()));
    }
    return Installation{preload.string(), runtime.string(), (folder / "tracelift-device").string()};
  }
  return std::unexpected(fmt::format("libtracelift.so is neither in {} nor in {}; build or install tracelift again",
                                     (folder.parent_path() / "lib").string(), folder.string()));
}

}  // namespace tracelift::offload

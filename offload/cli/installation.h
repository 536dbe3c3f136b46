// Where tracelift's own files are, found from the running command: a build tree, an installation, or one folder.
#pragma once

#include <expected>
#include <string>

namespace tracelift::offload {

struct Installation {
  std::string preload;  // libtracelift.so
  std::string runtime;  // libtracelift_runtime.so, beside it
  std::string device_server;  // tracelift-device, beside the command
};

/// The error names what is missing and where it was looked for.
std::expected<Installation, std::string> FindInstallation();

}  // namespace tracelift::offload

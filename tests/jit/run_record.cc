#include "tests/jit/run_record.h"

#include <stdio.h>
#include <unistd.h>

#include <fstream>

namespace tracelift::jit {
namespace {

std::string OutputOf(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return output;
  for (int c; (c = fgetc(pipe)) != EOF;) output += static_cast<char>(c);
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

}  // namespace

std::string CommandLine(int argc, char** argv) {
  std::string text = argv[0];
  text.erase(0, text.rfind('/') + 1);
  for (int i = 1; i < argc; ++i) text += std::string(" ") + argv[i];
  return text;
}

RunRecord NewRecord(const std::string& command, uint64_t seed) {
  RunRecord record;
  record["command"] = command;
  record["seed"] = seed;
  record["commit"] = Commit();
  record["machine"] = {{"processor", ProcessorName()}, {"threads", sysconf(_SC_NPROCESSORS_ONLN)}};
  return record;
}

bool WriteRecord(const RunRecord& record, const std::string& path) {
  if (path.empty()) return true;
  std::ofstream file(path);
  file << record.dump(2, ' ', false, RunRecord::error_handler_t::replace) << '\n';
  if (file.flush()) return true;
  fprintf(stderr, "%s: cannot be written\n", path.c_str());
  return false;
}

}  // namespace tracelift::jit

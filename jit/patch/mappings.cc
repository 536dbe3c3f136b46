#include "jit/patch/mappings.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace tracelift::jit {
namespace {

std::string ReadWhole(const char* path) {
  std::string text;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return text;
  char buffer[16384];
  ssize_t got = 0;
  while ((got = TEMP_FAILURE_RETRY(read(file, buffer, sizeof(buffer)))) > 0) {
    text.append(buffer, static_cast<size_t>(got));
  }
  close(file);
  return text;
}

// "55d0c000-55d0d000 r-xp 00001000 fe:00 1234   /usr/bin/true"
std::optional<Mapping> ParseLine(std::string_view line) {
  Mapping mapping;
  const char* const end = line.data() + line.size();
  auto parsed = std::from_chars(line.data(), end, mapping.range.begin, 16);
  if (parsed.ec != std::errc() || parsed.ptr == end || *parsed.ptr != '-') return std::nullopt;
  parsed = std::from_chars(parsed.ptr + 1, end, mapping.range.end, 16);
  if (parsed.ec != std::errc() || end - parsed.ptr < 5) return std::nullopt;
  const std::string_view flags(parsed.ptr + 1, 4);
  mapping.protection =
      (flags[0] == 'r' ? PROT_READ : 0) | (flags[1] == 'w' ? PROT_WRITE : 0) | (flags[2] == 'x' ? PROT_EXEC : 0);
  size_t at = static_cast<size_t>(parsed.ptr + 5 - line.data());
  for (int field = 0; field < 3; ++field) {  // offset, device, inode
    at = line.find_first_not_of(' ', at);
    if (at == std::string_view::npos) return mapping;
    at = std::min(line.find(' ', at), line.size());
  }
  at = line.find_first_not_of(' ', at);
  if (at != std::string_view::npos) mapping.name = line.substr(at);
  return mapping;
}

}  // namespace

std::vector<Mapping> ReadMappings() {
  const std::string text = ReadWhole("/proc/self/maps");
  std::vector<Mapping> mappings;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (auto mapping = ParseLine(std::string_view(text).substr(at, end - at))) mappings.push_back(std::move(*mapping));
    at = end + 1;
  }
  return mappings;
}

std::optional<int> ProtectionAt(const std::vector<Mapping>& mappings, uint64_t address) {
  const auto after = std::upper_bound(mappings.begin(), mappings.end(), address,
                                      [](uint64_t a, const Mapping& mapping) { return a < mapping.range.begin; });
  if (after == mappings.begin() || !std::prev(after)->range.Contains(address)) return std::nullopt;
  return std::prev(after)->protection;
}

}  // namespace tracelift::jit

#include "jit/code/library_search.h"

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

namespace tracelift::jit {
namespace {

constexpr const char* kCacheFile = "/etc/ld.so.cache";
constexpr char kCacheMagic[] = "glibc-ld.so.cache1.1";
constexpr int32_t kX86Library = 0x0303;  // for x86-64, of the current C library
constexpr const char* kDirectories[] = {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64",
                                        "/lib", "/usr/lib"};

struct CacheHeader {
  char magic[20];
  uint32_t count, string_bytes;
  uint32_t unused[5];
};
struct CacheEntry {
  int32_t flags;
  uint32_t name, path;  // offsets from the header
  uint32_t unused;
  uint64_t capabilities;  // of the processor; 0: any
};

/// An empty map where there is no cache of a format that is known.
std::map<std::string, std::string> ReadCache() {
  std::ifstream stream(kCacheFile, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
  const auto text = [&](uint32_t offset) {
    return offset < bytes.size() ? std::string(bytes.data() + offset, strnlen(bytes.data() + offset, bytes.size() - offset))
                                 : std::string();
  };
  std::map<std::string, std::string> cache;
  CacheHeader header;
  if (bytes.size() < sizeof(header)) return cache;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kCacheMagic, sizeof(header.magic)) != 0) return cache;
  for (uint64_t i = 0; i < header.count; ++i) {
    const uint64_t offset = sizeof(header) + i * sizeof(CacheEntry);
    if (bytes.size() - sizeof(header) < (i + 1) * sizeof(CacheEntry)) break;
    CacheEntry entry;
    std::memcpy(&entry, bytes.data() + offset, sizeof(entry));
    if (entry.flags == kX86Library && entry.capabilities == 0) cache.emplace(text(entry.name), text(entry.path));
  }
  return cache;
}

std::optional<std::string> FindIn(const std::string& directories, const std::string& name, const std::string& origin) {
  for (size_t begin = 0; begin < directories.size();) {
    const size_t end = std::min(directories.find(':', begin), directories.size());
    std::string path = directories.substr(begin, end - begin);
    for (const std::string token : {"${ORIGIN}", "$ORIGIN"}) {
      const size_t at = path.find(token);
      if (at != std::string::npos) path.replace(at, token.size(), origin);
    }
    path += "/" + name;
    if (access(path.c_str(), R_OK) == 0) return path;
    begin = end + 1;
  }
  return std::nullopt;
}

}  // namespace

LibrarySearch::LibrarySearch() : cache_(ReadCache()) {}

std::optional<std::string> LibrarySearch::Find(const std::string& name, const ElfNeeds& of,
                                               const std::string& origin) const {
  if (name.find('/') != std::string::npos) return access(name.c_str(), R_OK) == 0 ? std::optional(name) : std::nullopt;
  // With a RUNPATH, an RPATH is ignored.
  if (auto found = FindIn(of.runpath.empty() ? of.rpath : of.runpath, name, origin)) return found;
  const auto cached = cache_.find(name);
  if (cached != cache_.end() && access(cached->second.c_str(), R_OK) == 0) return cached->second;
  for (const char* directory : kDirectories) {
    if (auto found = FindIn(directory, name, origin)) return found;
  }
  return std::nullopt;
}

}  // namespace tracelift::jit

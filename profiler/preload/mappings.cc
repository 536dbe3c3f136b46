#include "profiler/preload/mappings.h"

#include <fcntl.h>

#include <cstdlib>
#include <cstring>

#include "profiler/preload/raw_syscalls.h"

namespace tracelift::preload {
namespace {

// "begin-end perms offset device inode   path\n"; true when the line is the address's and names a file.
bool ReadLine(const char* line, uint64_t address, char* path, size_t size) {
  char* end = nullptr;
  const uint64_t first = strtoull(line, &end, 16);
  if (*end != '-' || address < first) return false;
  const uint64_t last = strtoull(end + 1, &end, 16);
  if (address >= last) return false;
  const char* file = strchr(line, '/');
  if (!file || strlen(file) >= size) return false;
  strcpy(path, file);
  return true;
}

}  // namespace

bool FileMappedAt(uint64_t address, char* path, size_t size) {
  const int fd = OpenFile("/proc/self/maps", O_RDONLY);
  if (fd < 0) return false;
  static char buffer[16384];
  size_t filled = 0;
  bool found = false;
  while (!found) {
    const long n = Syscall(SYS_read, fd, AsLong(buffer + filled), static_cast<long>(sizeof(buffer) - 1 - filled));
    if (n <= 0) break;
    filled += static_cast<size_t>(n);
    buffer[filled] = 0;
    char* line = buffer;
    for (char* newline; !found && (newline = strchr(line, '\n')) != nullptr; line = newline + 1) {
      *newline = 0;
      found = ReadLine(line, address, path, size);
    }
    filled -= static_cast<size_t>(line - buffer);
    memmove(buffer, line, filled);
    if (filled + 1 >= sizeof(buffer)) break;  // no line is that long
  }
  CloseFile(fd);
  return found;
}

bool IsSystemLibrary(const char* path) {
  static const char* const kPrefixes[] = {"libc.so",      "libc-",     "ld-linux",      "ld-2",        "libpthread",
                                          "libdl.so",     "librt.so",  "libtracelift",  "libtbb",      "libLLVM",
                                          "libjemalloc",  "libtcmalloc", "libmimalloc", "libstdc++",   "libgcc_s"};
  const char* slash = strrchr(path, '/');
  const char* name = slash ? slash + 1 : path;
  for (const char* prefix : kPrefixes) {
    if (strncmp(name, prefix, strlen(prefix)) == 0) return true;
  }
  return false;
}

}  // namespace tracelift::preload

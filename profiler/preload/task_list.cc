#include "profiler/preload/task_list.h"

#include <fcntl.h>

#include <cstdio>
#include <cstring>

#include "profiler/preload/raw_syscalls.h"

namespace tracelift::preload {
namespace {

struct LinuxDirent {
  uint64_t inode;
  int64_t offset;
  uint16_t record_bytes;
  uint8_t type;
  char name[];
};

int ParseTid(const char* text) {
  int tid = 0;
  for (; *text >= '0' && *text <= '9'; ++text) tid = tid * 10 + (*text - '0');
  return *text == 0 ? tid : 0;
}

}  // namespace

bool ForEachThread(void (*visit)(int tid, void* context), void* context) {
  const int fd = OpenFile("/proc/self/task", O_RDONLY | O_DIRECTORY);
  if (fd < 0) return false;
  alignas(LinuxDirent) char buffer[4096];
  for (;;) {
    const long bytes = Syscall(SYS_getdents64, fd, AsLong(buffer), sizeof(buffer));
    if (bytes <= 0) break;
    for (long at = 0; at < bytes;) {
      const auto* entry = reinterpret_cast<const LinuxDirent*>(buffer + at);
      if (const int tid = ParseTid(entry->name); tid > 0) visit(tid, context);
      at += entry->record_bytes;
    }
  }
  CloseFile(fd);
  return true;
}

bool IsOwnThread(int tid) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
  char name[32];
  return ReadSmallFile(path, name, sizeof(name)) > 0 && strncmp(name, kOwnThreadName, 10) == 0;
}

}  // namespace tracelift::preload

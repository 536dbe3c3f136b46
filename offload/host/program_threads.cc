#include "offload/host/program_threads.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>

#include "profiler/preload_api.h"

namespace tracelift::offload {
namespace {

constexpr char kTasks[] = "/proc/self/task";
constexpr int kNoFile = -1;

struct Dirent {  // struct linux_dirent64
  uint64_t inode;
  int64_t offset;
  uint16_t record_bytes;
  uint8_t type;
  char name[1];
};

// The kernel counts a directory for each thread.
uint32_t CountAll() {
  struct statx about {};
  return syscall(SYS_statx, AT_FDCWD, kTasks, 0, STATX_NLINK, &about) == 0 ? about.stx_nlink : 0;
}

bool IsOurs(long tasks, const char* thread) {
  char path[32] = {};
  const size_t length = strnlen(thread, sizeof(path) - sizeof("/comm"));
  std::memcpy(path, thread, length);
  std::memcpy(path + length, "/comm", sizeof("/comm"));
  const long file = syscall(SYS_openat, tasks, path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char name[sizeof(TL_OWN_THREAD_NAME)] = {};
  const long bytes = syscall(SYS_read, file, name, sizeof(name) - 1);
  syscall(SYS_close, file);
  return bytes > 0 && std::strcmp(name, TL_OWN_THREAD_NAME) == 0;
}

int CountPrograms() {
  const long tasks = syscall(SYS_openat, AT_FDCWD, kTasks, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (tasks == kNoFile) return 0;
  int count = 0;
  alignas(Dirent) char entries[4096];
  for (long bytes = 0; (bytes = syscall(SYS_getdents64, tasks, entries, sizeof(entries))) > 0;) {
    for (long at = 0; at < bytes;) {
      const auto& entry = *reinterpret_cast<const Dirent*>(entries + at);
      if (entry.name[0] != '.' && !IsOurs(tasks, entry.name)) ++count;
      at += entry.record_bytes;
    }
  }
  syscall(SYS_close, tasks);
  return count;
}

// How many threads there were in all when the program had one; ours do not end.
std::atomic<uint32_t> g_all_with_one{0};

}  // namespace

bool IsOnlyThread() {
  const uint32_t all = CountAll();
  if (all == 0) return false;
  if (all == g_all_with_one.load(std::memory_order_relaxed)) return true;
  if (CountPrograms() != 1 || CountAll() != all) return false;
  g_all_with_one.store(all, std::memory_order_relaxed);
  return true;
}

}  // namespace tracelift::offload

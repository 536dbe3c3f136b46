#include "offload/device/write_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "offload/device/userfaultfd_features.h"

namespace tracelift::offload {
namespace {

// Of linux/userfaultfd.h and linux/fs.h as of Linux 6.7; Debian 12's headers are older.
constexpr int kUserModeOnly = 1;                                                       // UFFD_USER_MODE_ONLY
constexpr uint64_t kProtectMatching = 1, kCheckWatched = 2;                            // PM_SCAN_WP_MATCHING, PM_SCAN_CHECK_WPASYNC
constexpr uint64_t kIsWritten = 1 << 1, kIsFile = 1 << 2;                              // PAGE_IS_WRITTEN, PAGE_IS_FILE

struct ScanArguments {  // struct pm_scan_arg
  uint64_t size = sizeof(ScanArguments);
  uint64_t flags = 0;
  uint64_t start = 0, end = 0, walk_end = 0;
  uint64_t regions = 0, region_count = 0, most_pages = 0;
  uint64_t category_inverted = 0, category_mask = 0, category_anyof_mask = 0, return_mask = 0;
};
static_assert(sizeof(ScanArguments) == 96);
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);

// Programs that expect certain numbers do not notice it.
int MoveUp(long fd) {
  if (fd < 0) return -1;
  long up = -1;
  for (const int at_least : {1000, 240, 64}) {
    up = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, at_least);
    if (up >= 0) break;
  }
  if (up < 0) return static_cast<int>(fd);
  syscall(SYS_close, fd);
  return static_cast<int>(up);
}

}  // namespace

// The shared one is in another thread's table of descriptors.
int WriteWatch::OpenWatch() {
  if (shared_.thread != 0) {
    const long thread = syscall(SYS_pidfd_open, shared_.thread, kPidfdOfThread);
    if (thread < 0) return -1;
    const int watch = MoveUp(syscall(SYS_pidfd_getfd, thread, shared_.descriptor, 0));
    syscall(SYS_close, thread);
    return watch;
  }
  const int watch = MoveUp(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly));
  uffdio_api api{.api = UFFD_API, .features = kWriteProtectAsync | kWriteProtectUnpopulated, .ioctls = 0};
  if (watch < 0 || ioctl(watch, UFFDIO_API, &api) == 0) return watch;
  syscall(SYS_close, watch);
  return -1;
}

bool WriteWatch::Open() {
  if (unsupported_) return false;
  if (watch_ >= 0 && pages_ >= 0) return true;
  watch_ = OpenWatch();
  pages_ = MoveUp(syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC));
  if (watch_ >= 0 && pages_ >= 0) return true;
  unsupported_ = true;
  return false;
}

// Also when it is not the first time: what was written stays known.
bool WriteWatch::Register(uint64_t begin, uint64_t end, uint64_t mode) {
  uffdio_register range{.range = {begin, end - begin}, .mode = mode, .ioctls = 0};
  if (ioctl(watch_, UFFDIO_REGISTER, &range) == 0) return true;
  if (errno == EBADF) watch_ = pages_ = -1;
  return false;
}

bool WriteWatch::Await(uint64_t begin, uint64_t end) {
  return shared_.thread != 0 && Open() && Register(begin, end, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
}

WriteWatch::Answer WriteWatch::Scan(uint64_t* at, uint64_t end, size_t* count) {
  if (!Open()) return Answer::kCannot;
  ScanArguments scan{.flags = kProtectMatching | kCheckWatched,
                     .start = *at,
                     .end = end,
                     .regions = reinterpret_cast<uint64_t>(written_.data()),
                     .region_count = written_.size(),
                     .category_anyof_mask = kIsWritten | kIsFile,
                     .return_mask = kIsWritten | kIsFile};
  const long found = ioctl(pages_, kPagemapScan, &scan);
  if (found >= 0) {
    *count = static_cast<size_t>(found);
    *at = scan.walk_end;
    // Others may write to what is a file's, or shared with them, and this account would not show it.
    const bool is_private = std::ranges::none_of(written_.begin(), written_.begin() + found, [](const Region& region) { return (region.categories & kIsFile) != 0; });
    return is_private ? Answer::kKnown : Answer::kCannot;
  }
  if (errno == EPERM) return Answer::kNotWatched;
  if (errno == EBADF) {  // the program has closed it, and with the other one the kernel's account may be gone
    watch_ = pages_ = -1;
    return Open() ? Answer::kNotWatched : Answer::kCannot;
  }
  if (errno == ENOTTY || errno == EINVAL) unsupported_ = true;
  return Answer::kCannot;
}

// All that is there counts as written until then.
WriteWatch::Answer WriteWatch::Watch(uint64_t begin, uint64_t end) {
  if (!Register(begin, end, UFFDIO_REGISTER_MODE_WP)) return Answer::kCannot;
  for (uint64_t at = begin; at < end;) {
    size_t count = 0;
    if (Scan(&at, end, &count) == Answer::kKnown) continue;
    Forget(begin, end);
    return Answer::kCannot;
  }
  return Answer::kNotWatched;
}

void WriteWatch::Loosen(uint64_t begin, uint64_t end) {
  uffdio_writeprotect range{.range = {begin, end - begin}, .mode = 0};
  if (watch_ >= 0) (void)ioctl(watch_, UFFDIO_WRITEPROTECT, &range);
}

void WriteWatch::Forget(uint64_t begin, uint64_t end) {
  uffdio_range range{begin, end - begin};
  if (watch_ >= 0) (void)ioctl(watch_, UFFDIO_UNREGISTER, &range);
}

}  // namespace tracelift::offload

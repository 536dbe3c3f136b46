#include "offload/device/child_pages.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tracelift::offload {

FillAnswer FillMissing(int watch, uint64_t to, const uint8_t* from, uint64_t bytes, bool keep_watched) {
  uffdio_copy copy{.dst = to, .src = reinterpret_cast<uint64_t>(from), .len = bytes, .mode = keep_watched ? UFFDIO_COPY_MODE_WP : uint64_t{0}, .copy = 0};
  if (ioctl(watch, UFFDIO_COPY, &copy) == 0) return {.bytes = bytes};
  if (copy.copy > 0) return {.bytes = static_cast<uint64_t>(copy.copy)};
  if (errno == EAGAIN) return {.map_changes = true};
  if (bytes > kPageBytes) return FillMissing(watch, to, from, PageUp(bytes / 2), keep_watched);  // they may belong to more than one mapping
  uffdio_range page{.start = to, .len = kPageBytes};
  (void)ioctl(watch, UFFDIO_WAKE, &page);
  return {.bytes = bytes};
}

ChildPages::~ChildPages() { close(watch_); }

void ChildPages::Fill(PageRange pages, const uint8_t* bytes) {
  for (uint64_t done = 0; done < pages.bytes();) {
    // Page by page where something has changed.
    const uint64_t place = PlaceOf(pages.begin + done), size = change_count_ == 0 ? pages.bytes() - done : kPageBytes;
    const FillAnswer answer = place == 0 ? FillAnswer{.bytes = size} : FillMissing(watch_, place, bytes + done, size, /*keep_watched=*/false);
    done += answer.bytes;
    if (answer.map_changes) ReadChanges();
  }
}

// Who faults waits for what is filled, and at last for the end.
void ChildPages::ReadChanges() {
  uffd_msg message;
  while (read(watch_, &message, sizeof(message)) == static_cast<ssize_t>(sizeof(message))) {
    Change change;
    if (message.event == UFFD_EVENT_REMOVE || message.event == UFFD_EVENT_UNMAP) {
      change.pages = {message.arg.remove.start, message.arg.remove.end};
    } else if (message.event == UFFD_EVENT_REMAP) {
      change = {{message.arg.remap.from, message.arg.remap.from + message.arg.remap.len}, message.arg.remap.to};
    } else if (message.event == UFFD_EVENT_FORK) {
      close(static_cast<int>(message.arg.fork.ufd));
    }
    if (!change.pages.IsEmpty() && change_count_ < changes_.size()) changes_[change_count_++] = change;
  }
  syscall(SYS_sched_yield);
}

uint64_t ChildPages::PlaceOf(uint64_t page) const {
  for (size_t i = 0; i < change_count_ && page != 0; ++i) {
    const Change& change = changes_[i];
    if (page < change.pages.begin || page >= change.pages.end) continue;
    page = change.now_at == 0 ? 0 : page - change.pages.begin + change.now_at;
  }
  return page;
}

}  // namespace tracelift::offload

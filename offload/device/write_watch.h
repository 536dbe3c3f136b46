// Which pages of the program's memory were written since they were looked at last: asked of the kernel, which keeps account without
// stopping anybody (userfaultfd's asynchronous write protection and PAGEMAP_SCAN, Linux 6.7). Writes by system calls count as well;
// so does whatever unmaps memory or maps other memory in its place.
//
// Thread rule: any thread, one at a time; raw system calls only.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "offload/device/page_set.h"

namespace tracelift::offload {

/// A userfaultfd that somebody reads, whose thread has it under this number.
struct SharedWatch {
  int thread = 0, descriptor = -1;
};

class WriteWatch {
 public:
  enum class Answer : uint8_t {
    kKnown,      // the pages found are all that may have been written
    kNotWatched,  // nothing is known of the range, but it is watched from now on
    kCannot,      // it cannot be watched, as files and shared memory, or not on this kernel
  };

  /// Of [begin, end), pages. What was written begins anew: later writes are found by the next look. `found` is called with ranges
  /// of pages that may have been written since the last look, in ascending order.
  template <typename Found>
  Answer LookAt(uint64_t begin, uint64_t end, Found found) {
    for (uint64_t at = begin; at < end;) {
      size_t count = 0;
      const Answer answer = Scan(&at, end, &count);
      if (answer != Answer::kKnown) return answer == Answer::kNotWatched ? Watch(begin, end) : answer;
      for (size_t i = 0; i < count; ++i) found(PageRange{written_[i].begin, written_[i].end});
    }
    return Answer::kKnown;
  }

  /// Uses this one, not one of its own, from now on.
  void Share(SharedWatch shared) { shared_ = shared; }
  /// Who touches a missing page of [begin, end) waits for whoever reads the shared userfaultfd. False where nobody does, or where it
  /// cannot be.
  bool Await(uint64_t begin, uint64_t end);

  /// All of it is about to be written: the pages count as written, and no single write has to find that out.
  void Loosen(uint64_t begin, uint64_t end);
  /// Nobody asks any more.
  void Forget(uint64_t begin, uint64_t end);

 private:
  struct Region {  // page_region of linux/fs.h
    uint64_t begin = 0, end = 0, categories = 0;
  };

  bool Open();
  int OpenWatch();
  bool Register(uint64_t begin, uint64_t end, uint64_t mode);
  Answer Scan(uint64_t* at, uint64_t end, size_t* count);
  Answer Watch(uint64_t begin, uint64_t end);

  int watch_ = -1, pages_ = -1;  // descriptors of the program's, userfaultfd and the map of its pages
  SharedWatch shared_;
  bool unsupported_ = false;
  std::array<Region, 256> written_;
};

}  // namespace tracelift::offload

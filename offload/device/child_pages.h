// A forked child's missing pages, of which the device has the bytes. The child runs already, and may drop, unmap and move what is not
// filled yet.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "offload/device/page_set.h"

namespace tracelift::offload {

struct FillAnswer {
  uint64_t bytes = 0;        // done with
  bool map_changes = false;  // nothing can be done until that is read
};
/// Missing pages from `to` on become what is at `from`, as far as that goes at once; those that are there, or nobody's, stay as they are.
FillAnswer FillMissing(int watch, uint64_t to, const uint8_t* from, uint64_t bytes, bool keep_watched);

class ChildPages {
 public:
  /// Takes over the child's userfaultfd. Once that is closed, what is still missing is as new.
  explicit ChildPages(int watch) : watch_(watch) {}
  ~ChildPages();
  ChildPages(const ChildPages&) = delete;
  ChildPages& operator=(const ChildPages&) = delete;
  int watch() const { return watch_; }

  /// The pages that were these when it was forked.
  void Fill(PageRange pages, const uint8_t* bytes);

 private:
  struct Change {
    PageRange pages;
    uint64_t now_at = 0;  // 0: gone
  };
  void ReadChanges();
  uint64_t PlaceOf(uint64_t page) const;

  const int watch_;
  std::array<Change, 128> changes_{};
  size_t change_count_ = 0;
};

}  // namespace tracelift::offload

// Pages of memory in a few ranges.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace tracelift::offload {

inline constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t PageDown(uint64_t address) { return address & ~(kPageBytes - 1); }
constexpr uint64_t PageUp(uint64_t address) { return PageDown(address + kPageBytes - 1); }

struct PageRange {
  uint64_t begin = 0, end = 0;
  bool IsEmpty() const { return begin >= end; }
  uint64_t bytes() const { return IsEmpty() ? 0 : end - begin; }
  constexpr bool operator==(const PageRange&) const = default;
};

constexpr PageRange Meet(PageRange a, PageRange b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

/// Where there are too many ranges, some that lie between them are in the set, too: it never has less than it should.
class PageSet {
 public:
  void Add(PageRange range) {
    if (range.IsEmpty()) return;
    for (size_t i = 0; i < count_;) {  // what it touches becomes a part of it
      if (range.begin > ranges_[i].end || ranges_[i].begin > range.end) {
        ++i;
        continue;
      }
      range = {std::min(ranges_[i].begin, range.begin), std::max(ranges_[i].end, range.end)};
      ranges_[i] = ranges_[--count_];
    }
    if (count_ == kMost) {
      const PageRange last = ranges_[--count_];
      return Add({std::min(last.begin, range.begin), std::max(last.end, range.end)});
    }
    ranges_[count_++] = range;
  }

  void Remove(PageRange range) {
    const PageSet before = *this;
    count_ = 0;
    for (const PageRange& kept : before.ranges()) {
      if (Meet(kept, range).IsEmpty()) {
        Add(kept);
        continue;
      }
      Add({kept.begin, std::min(kept.end, range.begin)});
      Add({std::max(kept.begin, range.end), kept.end});
    }
  }

  void Clear() { count_ = 0; }
  bool IsEmpty() const { return count_ == 0; }
  bool Has(uint64_t page) const {
    return std::ranges::any_of(ranges(), [&](const PageRange& range) { return range.begin <= page && page < range.end; });
  }

  /// Calls visit(part) for the parts of it that lie in `within`; the set may change meanwhile.
  template <typename Visit>
  void ForEachIn(PageRange within, Visit visit) const {
    const PageSet now = *this;
    for (const PageRange& range : now.ranges()) {
      if (const PageRange part = Meet(range, within); !part.IsEmpty()) visit(part);
    }
  }

 private:
  static constexpr size_t kMost = 12;
  struct View {
    const PageRange *first, *last;
    const PageRange* begin() const { return first; }
    const PageRange* end() const { return last; }
  };
  View ranges() const { return {ranges_.data(), ranges_.data() + count_}; }

  std::array<PageRange, kMost> ranges_{};
  size_t count_ = 0;
};

}  // namespace tracelift::offload

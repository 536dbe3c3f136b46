// Which memory of a copy is on the device alone: the program's pages there are missing, and come back when somebody touches them.
//
// By granules, aligned in the program's memory. Their number is that of the copy's bytes, a bit each.
//
// Thread rule: whoever holds the link. Memory by the kernel's own call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "offload/device/page_set.h"

namespace tracelift::offload {

inline constexpr uint64_t kGranuleBytes = 64 << 10;
constexpr uint64_t GranuleDown(uint64_t address) { return address & ~(kGranuleBytes - 1); }
constexpr uint64_t GranuleUp(uint64_t address) { return GranuleDown(address + kGranuleBytes - 1); }

class AwayMap {
 public:
  /// The granules that lie in [begin, end) as a whole.
  static PageRange GranulesIn(uint64_t begin, uint64_t end) {
    const PageRange whole{GranuleUp(begin), GranuleDown(end)};
    return whole.IsEmpty() ? PageRange{} : whole;
  }

  /// Room for what may be away of `extent`; false when there is none. Nothing is away then.
  bool Cover(PageRange extent);
  /// Nothing is away any more, and the memory for it given back.
  void Drop();

  bool IsAnyAway() const { return away_ > 0; }
  uint64_t away_bytes() const { return away_ * kGranuleBytes; }
  bool IsAway(uint64_t address) const;
  /// `granules` are whole ones of the extent.
  void Set(PageRange granules, bool away);

  /// The longest range from `address` on, up to `end`, of which all, or nothing, is away.
  PageRange RunAt(uint64_t address, uint64_t end) const;

  /// Calls visit(run) for what is away, or what is not, of `within`, in ascending order. Granules that are visited may change.
  template <typename Visit>
  void ForEachRun(PageRange within, bool away, Visit visit) const {
    for (uint64_t at = within.begin; at < within.end;) {
      const PageRange run = RunAt(at, within.end);
      const bool is_away = IsAway(at);
      at = run.end;
      if (is_away == away) visit(run);
    }
  }

 private:
  uint64_t IndexOf(uint64_t address) const { return (address - first_) / kGranuleBytes; }
  bool Bit(uint64_t index) const { return (bits_[index / 64] >> index % 64 & 1) != 0; }

  uint64_t* bits_ = nullptr;
  uint64_t first_ = 0, count_ = 0;  // granules from this address on
  uint64_t away_ = 0;
};

}  // namespace tracelift::offload

// Which memory of the program has a copy on the device, and what of it is out of date there: what the next launch needs and nobody
// has written since stays where it is.
//
// Thread rule: whoever has taken the link; no allocation, raw system calls only.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "offload/device/device_link.h"
#include "offload/device/write_watch.h"

namespace tracelift::offload {

class DeviceCopies {
 public:
  static constexpr int kMostCopies = 96;

  explicit DeviceCopies(DeviceLink& link) : link_(link) {}

  /// Memory that a launch touches, and where its copy is: `buffer` begins with the copy of `copy_begin`.
  struct Wanted {
    uint64_t begin = 0, end = 0;
    uint32_t buffer = 0;
    uint64_t copy_begin = 0;
  };

  DeviceLink& link() const { return link_; }

  /// Sends what is not there; the commands are under way when it returns. False when they cannot be, as the device is lost, has failed
  /// or has no memory.
  bool Bring(std::span<Wanted> wanted, double deadline_ns);

  /// The launch wrote to memory [begin, end); what that became is not known to the program yet.
  void Spoil(uint64_t begin, uint64_t end);
  /// The program is about to write most of [begin, end).
  void Loosen(uint64_t begin, uint64_t end);
  /// The program's memory from `begin` on is the copy's `image`, as far as nobody else writes there.
  void Settle(uint64_t begin, std::span<const uint8_t> image);

  /// A batch has failed: nothing is known to be there.
  void Reset();

  uint64_t sent_bytes() const { return sent_.load(std::memory_order_relaxed); }
  /// That were on the device already when a launch needed them.
  uint64_t stayed_bytes() const { return stayed_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kMostStale = 12;

  struct Copy {
    uint64_t begin = 0, end = 0;  // pages; empty: free
    uint64_t last_use = 0;        // number of the launch
    bool watched = false;
    int written_often = 0;        // looks in a row that found most of it written
    uint64_t unwatched_until = 0;  // number of a launch
    std::array<PageRange, kMostStale> stale{};  // to be sent, whatever else
    size_t stale_count = 0;
    bool IsFree() const { return begin == end; }
    uint64_t bytes() const { return end - begin; }
    void AddStale(PageRange range);
  };

  using Ranges = std::array<PageRange, jit::kMaxMemories>;
  enum class With : bool { kNothing, kCopies };
  size_t JoinPages(std::span<const Wanted> wanted, With with, Ranges* ranges) const;
  Copy* CopyWith(PageRange range);
  Copy* CopyFor(PageRange range);
  void Free(Copy& copy);
  bool MakeRoom(uint64_t bytes);
  bool Update(Copy& copy, PageRange needed, double deadline_ns);
  bool Send(const Copy& copy, PageRange range, double deadline_ns);
  uint32_t NumberOf(const Copy& copy) const { return static_cast<uint32_t>(&copy - copies_.data()); }

  DeviceLink& link_;
  WriteWatch watch_;
  std::array<Copy, kMostCopies> copies_{};
  uint64_t launches_ = 0;
  uint64_t piece_ = 0;  // of this launch
  std::array<uint32_t, kPieces> under_way_{};
  std::atomic<uint64_t> sent_{0}, stayed_{0};
};

}  // namespace tracelift::offload

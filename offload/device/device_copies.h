// Which memory of the program has a copy on the device, and what of it is out of date there: what the next launch needs and nobody
// has written since stays where it is. So may results: the program's own pages are missing then, and whoever touches one waits until a
// thread of ours (page_server.h) has brought it home. A log has all that is needed to compute them again without the device.
//
// Thread rule: whoever holds the link; no allocation, raw system calls only. The page server acts for a holder that waits for it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "offload/device/away_map.h"
#include "offload/device/device_link.h"
#include "offload/device/launch_log.h"
#include "offload/device/page_set.h"
#include "offload/device/write_watch.h"

namespace tracelift::offload {

class PageServer;

class DeviceCopies {
 public:
  static constexpr int kMostCopies = 96;

  /// At most `most_logged` bytes are kept besides of what launches whose results stay were sent.
  explicit DeviceCopies(DeviceLink& link, uint64_t most_logged = 0) : link_(link), log_(most_logged) {}
  /// In memory of its own, for the life of the process: what it has is not to be found on a page of the program's.
  static DeviceCopies* CreateForever(DeviceLink& link, uint64_t most_logged);
  /// Who copies much memory, in place of memcpy.
  using Copier = void (*)(void* context, void* to, const void* from, uint64_t bytes);
  void CopyBy(Copier copier, void* context) { copier_ = copier, copier_context_ = context; }
  /// From now on results may stay.
  void BeServed(PageServer& server);

  /// Memory that a launch touches, and where its copy is: `buffer` begins with the copy of `copy_begin`.
  struct Wanted {
    uint64_t begin = 0, end = 0;
    uint32_t buffer = 0;
    uint64_t copy_begin = 0;
  };

  DeviceLink& link() const { return link_; }

  /// Ahead of Bring. With results that may stay, all that the device is sent and does from here on is logged until all are home. A
  /// launch that the log cannot repeat brings them home first.
  void BeginLaunch(bool may_leave, bool can_be_repeated);
  /// Sends what is not there; the commands are under way when it returns. False when they cannot be, as the device is lost, has failed
  /// or has no memory.
  bool Bring(std::span<Wanted> wanted, double deadline_ns);

  /// The launch wrote to memory [begin, end); what that became is not known to the program yet.
  void Spoil(uint64_t begin, uint64_t end);
  /// The program is about to write most of [begin, end).
  void Loosen(uint64_t begin, uint64_t end);
  /// The program's memory from `begin` on is the copy's `image`, as far as nobody else writes there.
  void Settle(uint64_t begin, std::span<const uint8_t> image);

  /// Whether results of the launch that is prepared may stay.
  bool IsLogging() const { return logging_; }
  bool IsAnyAway() const;
  /// What of [begin, end) is on the device alone, and what lies between that.
  PageRange AwayIn(uint64_t begin, uint64_t end) const;
  /// The launch raised no flag. What else does the same, on the cores.
  void Log(jit::ChunkFunction function, const jit::MachineState& state, int64_t passes);
  /// What of the results in [begin, end) can stay; nothing, where that does not pay.
  PageRange PrepareToLeave(uint64_t begin, uint64_t end);
  /// All of these, which have been prepared for it, are on the device alone from now on.
  void Leave(PageRange granules);

  /// A batch has failed: nothing is known to be there but what is there alone.
  void Reset();

  /// Takes the link: all of [begin, end) comes home, and nobody watches it any more. Nothing in a forked child.
  void Release(PageRange pages);

  // For the page server, which holds the link or acts for the holder.
  /// False while the bytes are being computed again: a touch to be answered later.
  bool Serve(uint64_t address);
  void ProgramForked();
  /// The pages are as new, or, where `now_at` is not 0, there.
  void PagesGone(PageRange pages, uint64_t now_at = 0);
  void PagesUnmapped(PageRange pages, uint64_t now_at = 0);
  bool IsOwnDrop(PageRange pages) const;
  bool IsCopying() const { return copying_.load(std::memory_order_seq_cst); }
  /// Nobody else holds the link: the log goes when there is no need for it.
  void EndLogIfAllIsHome();

  uint64_t sent_bytes() const { return sent_.load(std::memory_order_relaxed); }
  /// That were on the device already when a launch needed them.
  uint64_t stayed_bytes() const { return stayed_.load(std::memory_order_relaxed); }
  /// Of results: that stayed, and that came home later.
  uint64_t left_bytes() const { return left_.load(std::memory_order_relaxed); }
  uint64_t home_bytes() const { return home_.load(std::memory_order_relaxed); }

 private:
  struct Copy {
    uint64_t begin = 0, end = 0;  // pages; empty: free
    uint64_t last_use = 0;        // number of the launch
    bool watched = false;         // as far as the last launch needed it
    bool was_watched = false;     // at some time
    int written_often = 0;        // looks in a row that found most of it written
    uint64_t unwatched_until = 0;  // number of a launch
    PageSet stale;                 // to be sent, whatever else
    AwayMap away;
    PageSet unlogged;              // what of it the log of this number does not have
    uint64_t log_number = 0;
    uint64_t left = 0, came_home = 0;  // bytes, by the last launch that left some, and since then
    int in_vain = 0;               // launches in a row most of whose results came home
    uint64_t home_until = 0;       // number of a launch: until then results do not stay
    uint64_t recomputed_at = 0;    // where its bytes begin, of those computed again
    bool IsFree() const { return begin == end; }
    PageRange extent() const { return {begin, end}; }
    uint64_t bytes() const { return end - begin; }
    void AddStale(PageRange range) { stale.Add(Meet({PageDown(range.begin), PageUp(range.end)}, extent())); }
  };

  using Ranges = std::array<PageRange, jit::kMaxMemories>;
  enum class With : bool { kNothing, kCopies };
  size_t JoinPages(std::span<const Wanted> wanted, With with, Ranges* ranges) const;
  Copy* CopyWith(PageRange range);
  Copy* CopyFor(PageRange range);
  void Free(Copy& copy);
  bool MakeRoom(uint64_t bytes);
  void Look(Copy& copy, PageRange needed);
  bool Update(Copy& copy, PageRange needed, double deadline_ns);
  bool Send(Copy& copy, PageRange range, double deadline_ns);
  uint32_t NumberOf(const Copy& copy) const { return static_cast<uint32_t>(&copy - copies_.data()); }

  void CopyBytes(uint8_t* to, uint64_t from, uint64_t bytes);

  // away_pages.cc
  PageSet& Unlogged(Copy& copy) const;
  void KeepInLog(Copy& copy, PageRange range);
  void Recall(const Copy& copy);
  void StopLogging();
  void TakeHome(const Copy& copy, PageRange run);
  const uint8_t* BytesOf(Copy& copy, PageRange piece);
  template <typename Take>
  void ForEachPiece(Copy& copy, PageRange granules, Take take);
  void BringHome(Copy& copy, PageRange granules, PageRange gone = {UINT64_MAX, UINT64_MAX}, uint64_t to = 0);
  void Fill(uint64_t to, const uint8_t* from, uint64_t bytes, bool keep_watched);
  void Zero(uint64_t page);
  void Recompute();

  DeviceLink& link_;
  WriteWatch watch_;
  std::array<Copy, kMostCopies> copies_{};
  uint64_t launches_ = 0;
  uint64_t piece_ = 0;  // of this launch
  std::array<uint32_t, kPieces> under_way_{};

  Copier copier_ = nullptr;
  void* copier_context_ = nullptr;
  std::atomic<bool> copying_{false};

  LaunchLog log_;
  uint64_t log_number_ = 1;
  PageServer* server_ = nullptr;
  bool logging_ = false;                               // what this launch needs and does
  uint8_t* recomputed_ = nullptr;                      // what was away when the device was lost; null: it was not
  uint64_t recomputed_bytes_ = 0;
  bool recomputing_ = false;
  bool has_moved_ = false;                             // watched memory of the program's, somewhere
  uint64_t next_touch_ = 0, home_at_once_ = 0;         // of touches one behind the other, more comes home at once
  std::atomic<uint64_t> drop_begin_{0}, drop_end_{0};  // pages that the holder gives back itself

  std::atomic<uint64_t> sent_{0}, stayed_{0}, left_{0}, home_{0};
};

}  // namespace tracelift::offload

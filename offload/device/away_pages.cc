// Results that stay on the device, and how they come home.
//
// A launch leaves whole granules of what it wrote: their pages are given back to the kernel, so the next touch, by an instruction or
// in a system call, is a fault that the page server answers with the device's bytes. What comes home is watched as all other memory:
// the next launch is sent what was written of it. Pages go when the program unmaps or drops them, and move when it moves them; a forked
// child gets all of them before its parent goes on to another launch.
//
// Should the device be lost, a child of the program computes everything again from the log, which begins with the first launch whose
// results stayed and ends when all are home.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "offload/device/child_pages.h"
#include "offload/device/device_copies.h"
#include "offload/device/page_server.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kMostAtOnce = 8 << 20;        // that come home for one touch, when these follow each other
constexpr int kMostInVain = 3;                   // launches in a row, most of whose results came home: then they come at once
constexpr uint64_t kLaunchesAtHome = 64;
static_assert(kMostAtOnce <= kFetchBytes);
constexpr int kDropAlsoLocked = 24;              // MADV_DONTNEED_LOCKED, Linux 5.18

void Touch(uint64_t address) {
  (void)*reinterpret_cast<const volatile uint8_t*>(address);
  asm volatile("" ::: "memory");  // the page server has changed what is away
}

// Nobody has the program's data any more: whatever it did from here on would be wrong.
void End() {
  constexpr char kText[] = "tracelift: the device was lost, and what it had cannot be computed again: the program cannot go on\n";
  const int programs_error = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_CLOEXEC);  // this thread has other descriptors
  (void)!write(programs_error, kText, sizeof(kText) - 1);
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

}  // namespace

DeviceCopies* DeviceCopies::CreateForever(DeviceLink& link, uint64_t most_logged) {
  void* memory = mmap(nullptr, PageUp(sizeof(DeviceCopies)), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) DeviceCopies(link, most_logged);
}

void DeviceCopies::BeServed(PageServer& server) {
  watch_.Share(server.shared());
  server_ = &server;
}

bool DeviceCopies::IsAnyAway() const {
  return std::ranges::any_of(copies_, [](const Copy& copy) { return copy.away.IsAnyAway(); });
}

PageSet& DeviceCopies::Unlogged(Copy& copy) const {
  if (copy.log_number != log_number_) {
    copy.log_number = log_number_;
    copy.unlogged.Clear();
    copy.unlogged.Add(copy.extent());
  }
  return copy.unlogged;
}

void DeviceCopies::EndLogIfAllIsHome() {
  if (log_.IsEmpty() || IsAnyAway()) return;
  log_.Clear();
  ++log_number_;
  if (recomputed_) syscall(SYS_munmap, recomputed_, recomputed_bytes_);
  recomputed_ = nullptr;
}

void DeviceCopies::BeginLaunch(bool may_leave, bool can_be_repeated) {
  EndLogIfAllIsHome();
  logging_ = server_ && (may_leave || IsAnyAway());
  if (logging_ && (!can_be_repeated || !log_.HasRoom(0))) StopLogging();
}

void DeviceCopies::KeepInLog(Copy& copy, PageRange range) {
  if (!logging_) return;
  uint8_t* kept = log_.Keep(range);
  if (!kept || !log_.HasRoom(0)) return StopLogging();
  CopyBytes(kept, range.begin, range.bytes());
  Unlogged(copy).Remove(range);
}

void DeviceCopies::Log(jit::ChunkFunction function, const jit::MachineState& state, int64_t passes) {
  if (logging_) log_.Add(function, state, passes);
}

// All comes home: the launch needs no log then.
void DeviceCopies::StopLogging() {
  for (const Copy& copy : copies_) Recall(copy);
  logging_ = false;
}

// The holder touches what is away, and waits for the page server as everybody does.
void DeviceCopies::Recall(const Copy& copy) {
  if (!copy.away.IsAnyAway()) return;
  for (uint64_t at = copy.begin; at < copy.end; at = copy.away.RunAt(at, copy.end).end) {
    while (copy.away.IsAway(at)) Touch(at);
  }
}

void DeviceCopies::Release(PageRange pages) {
  const auto lies_there = [&](const Copy& copy) { return !Meet(pages, copy.extent()).IsEmpty(); };
  while (!link_.Take(/*though_lost=*/true)) {
    if (!link_.IsOurs()) return;
    syscall(SYS_sched_yield);
  }
  for (Copy& copy : copies_) {
    if (lies_there(copy)) Free(copy);
  }
  if (has_moved_) watch_.Forget(PageDown(pages.begin), PageUp(pages.end));  // maybe from there to here
  link_.Release();
}

PageRange DeviceCopies::AwayIn(uint64_t begin, uint64_t end) const {
  PageRange hull{end, begin};
  for (const Copy& copy : copies_) {
    if (!copy.away.IsAnyAway()) continue;
    copy.away.ForEachRun(Meet({begin, end}, copy.extent()), /*away=*/true, [&](PageRange run) {
      hull = {std::min(hull.begin, run.begin), std::max(hull.end, run.end)};
    });
  }
  return hull.IsEmpty() ? PageRange{} : hull;
}

PageRange DeviceCopies::PrepareToLeave(uint64_t begin, uint64_t end) {
  const PageRange granules = AwayMap::GranulesIn(begin, end);
  Copy* copy = granules.IsEmpty() ? nullptr : CopyWith(granules);
  if (!copy || !copy->watched || launches_ < copy->home_until) return {};
  copy->in_vain = copy->left > 0 && copy->came_home > copy->left / 2 ? copy->in_vain + 1 : 0;
  copy->left = copy->came_home = 0;
  if (copy->in_vain >= kMostInVain) {
    copy->in_vain = 0;
    copy->home_until = launches_ + kLaunchesAtHome;
    return {};
  }
  return copy->away.Cover(copy->extent()) && watch_.Await(granules.begin, granules.end) ? granules : PageRange{};
}

void DeviceCopies::Leave(PageRange granules) {
  Copy& copy = *CopyWith(granules);
  copy.away.ForEachRun(granules, /*away=*/false, [&](PageRange run) {
    drop_begin_.store(run.begin, std::memory_order_relaxed);
    drop_end_.store(run.end, std::memory_order_release);
    const bool dropped = syscall(SYS_madvise, run.begin, run.bytes(), kDropAlsoLocked) == 0;
    server_->AwaitReading();
    drop_end_.store(0, std::memory_order_release);
    if (!dropped) return TakeHome(copy, run);
    copy.away.Set(run, true);
  });
  copy.stale.Remove(granules);
  copy.left = copy.away.away_bytes();
  left_.fetch_add(granules.bytes(), std::memory_order_relaxed);
}

// The kernel gives such memory not back: it gets the bytes.
void DeviceCopies::TakeHome(const Copy& copy, PageRange run) {
  for (uint64_t at = run.begin; at < run.end; at += kFetchBytes) {
    const uint64_t bytes = std::min(kFetchBytes, run.end - at);
    if (!link_.Fetch(NumberOf(copy), at - copy.begin, kFetchAt, bytes)) return End();
    std::memcpy(reinterpret_cast<void*>(at), link_.staging() + kFetchAt, bytes);
  }
}

bool DeviceCopies::IsOwnDrop(PageRange pages) const {
  const uint64_t end = drop_end_.load(std::memory_order_acquire);
  return pages.begin >= drop_begin_.load(std::memory_order_relaxed) && pages.end <= end;
}

// What the program does not have of one piece of a copy, until the next one is asked for.
const uint8_t* DeviceCopies::BytesOf(Copy& copy, PageRange piece) {
  if (!recomputed_) {
    if (link_.Fetch(NumberOf(copy), piece.begin - copy.begin, kFetchAt, piece.bytes())) return link_.staging() + kFetchAt;
    Recompute();
  }
  return recomputed_ + copy.recomputed_at + (piece.begin - copy.begin);
}

// Missing pages of [to, to + bytes) become what is at `from`; others stay as they are. Who waits for them goes on. While the program
// changes its map it cannot be done, and what it has to say of that may have to be read first.
void DeviceCopies::Fill(uint64_t to, const uint8_t* from, uint64_t bytes, bool keep_watched) {
  for (uint64_t done = 0; done < bytes;) {
    const FillAnswer answer = FillMissing(server_->watch(), to + done, from + done, bytes - done, keep_watched);
    server_->FillWaitingChildren({to + done, to + done + answer.bytes}, from + done);
    done += answer.bytes;
    if (answer.map_changes) server_->ReadOn();
  }
}

// A missing page that nobody has is as new. (UFFDIO_ZEROPAGE refuses pages that are marked as watched.)
void DeviceCopies::Zero(uint64_t page) {
  alignas(kPageBytes) static constexpr uint8_t kZeros[kPageBytes] = {};
  Fill(page, kZeros, kPageBytes, /*keep_watched=*/false);
}

// Calls take(piece, bytes) for pieces of what is away of `granules`.
template <typename Take>
void DeviceCopies::ForEachPiece(Copy& copy, PageRange granules, Take take) {
  copy.away.ForEachRun(granules, /*away=*/true, [&](PageRange run) {
    for (uint64_t at = run.begin; at < run.end; at += kFetchBytes) {
      const PageRange piece{at, std::min(at + kFetchBytes, run.end)};
      take(piece, BytesOf(copy, piece));
    }
  });
}

// To their place, but for the pages `gone`, which go to `to` if that is not 0.
void DeviceCopies::BringHome(Copy& copy, PageRange granules, PageRange gone, uint64_t to) {
  ForEachPiece(copy, granules, [&](PageRange piece, const uint8_t* bytes) {
    const auto fill = [&](PageRange part, uint64_t at) {
      if (!part.IsEmpty()) Fill(at, bytes + (part.begin - piece.begin), part.bytes(), /*keep_watched=*/true);
    };
    const PageRange moved = Meet(piece, gone);
    fill({piece.begin, std::min(piece.end, gone.begin)}, piece.begin);
    fill({std::max(piece.begin, gone.end), piece.end}, std::max(piece.begin, gone.end));
    if (to != 0) fill(moved, to + (moved.begin - gone.begin));
    copy.away.Set(piece, false);
    copy.came_home += piece.bytes();
    home_.fetch_add(piece.bytes(), std::memory_order_relaxed);
  });
}

bool DeviceCopies::Serve(uint64_t address) {
  const uint64_t page = PageDown(address);
  const auto found = std::ranges::find_if(copies_, [&](const Copy& copy) { return copy.away.IsAway(page); });
  if (found == copies_.end()) return Zero(page), true;  // or it is there by now
  if (recomputing_) return false;
  const uint64_t first = GranuleDown(page);
  home_at_once_ = first == next_touch_ ? std::min(2 * home_at_once_, kMostAtOnce) : kGranuleBytes;
  const PageRange run = found->away.RunAt(first, std::min(found->end, first + home_at_once_));
  next_touch_ = run.end;
  BringHome(*found, run);
  return true;
}

// All that is away here is missing in the child, too, and who forks once may fork often.
void DeviceCopies::ProgramForked() {
  for (Copy& copy : copies_) {
    if (!copy.away.IsAnyAway()) continue;
    copy.home_until = launches_ + kLaunchesAtHome;
    BringHome(copy, copy.extent());
  }
}

// The log has pages at these addresses, which others may get now: it ends.
void DeviceCopies::PagesUnmapped(PageRange pages, uint64_t now_at) {
  has_moved_ |= now_at != 0;
  PagesGone(pages, now_at);
  const auto is_logged = [&](const Copy& copy) { return !Meet(pages, copy.extent()).IsEmpty(); };
  if (!IsAnyAway() || std::ranges::none_of(copies_, is_logged)) return;
  for (Copy& copy : copies_) BringHome(copy, copy.extent());
}

void DeviceCopies::PagesGone(PageRange pages, uint64_t now_at) {
  for (Copy& copy : copies_) {
    const PageRange part = Meet(pages, copy.extent());
    if (part.IsEmpty()) continue;
    const PageRange inside = AwayMap::GranulesIn(part.begin, part.end);
    if (now_at == 0 && !inside.IsEmpty()) {
      copy.away.ForEachRun(inside, /*away=*/true, [&](PageRange run) { copy.away.Set(run, false); });
    }
    const PageRange around{GranuleDown(part.begin), GranuleUp(part.end)};
    BringHome(copy, Meet(around, copy.extent()), pages, now_at);
    copy.AddStale(part);
  }
}

// Whatever is away is computed from the log, by a child, into memory that it shares with us.
void DeviceCopies::Recompute() {
  uint64_t bytes = 0;
  for (Copy& copy : copies_) {
    copy.recomputed_at = bytes;
    if (copy.away.IsAnyAway()) bytes += copy.bytes();
  }
  const long mapped = syscall(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  recomputed_bytes_ = bytes;
  recomputed_ = mapped == -1 ? nullptr : reinterpret_cast<uint8_t*>(mapped);
  recomputing_ = true;
  const bool done = recomputed_ && server_->RunInChild([](void* self) {
    const auto& copies = *static_cast<const DeviceCopies*>(self);
    if (!copies.log_.Replay()) return false;
    for (const Copy& copy : copies.copies_) {
      copy.away.ForEachRun(copy.extent(), /*away=*/true, [&](PageRange run) {
        std::memcpy(copies.recomputed_ + copy.recomputed_at + (run.begin - copy.begin), reinterpret_cast<const void*>(run.begin), run.bytes());
      });
    }
    return true;
  }, this);
  recomputing_ = false;
  if (!done) End();
}

}  // namespace tracelift::offload

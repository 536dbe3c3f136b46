#include "offload/device/device_copies.h"

#include <algorithm>
#include <cstring>

#include "offload/device/page_server.h"

namespace tracelift::offload {
namespace {

constexpr int kOftenWritten = 4;             // looks in a row, after which watching
constexpr uint64_t kUnwatchedLaunches = 64;  // stops for so many

}  // namespace

void DeviceCopies::Free(Copy& copy) {
  if (copy.IsFree()) return;
  Recall(copy);
  copy.away.Drop();
  if (copy.was_watched) watch_.Forget(copy.begin, copy.end);
  (void)link_.Post({.op = DeviceOp::kFree, .buffer = NumberOf(copy)});
  copy = {};
}

// What was not used for the longest time goes, but nothing that this launch needs.
bool DeviceCopies::MakeRoom(uint64_t bytes) {
  for (;;) {
    uint64_t used = 0;
    Copy* oldest = nullptr;
    bool has_free = false;
    for (Copy& copy : copies_) {
      has_free |= copy.IsFree();
      used += copy.bytes();
      if (!copy.IsFree() && copy.last_use != launches_ && (!oldest || copy.last_use < oldest->last_use)) oldest = &copy;
    }
    if (has_free && used + bytes <= link_.memory_bytes()) return true;
    if (!oldest) return false;
    Free(*oldest);
  }
}

// The pages of all that is wanted, in ranges that do not overlap: what shares a page belongs together, and with copies, what one of
// them holds a part of. How many there are.
size_t DeviceCopies::JoinPages(std::span<const Wanted> wanted, With with, Ranges* ranges) const {
  size_t count = 0;
  const auto meet = [](const auto& a, const auto& b) { return a.begin < b.end && b.begin < a.end; };
  const auto add = [&](PageRange range) {
    for (bool grows = true; grows;) {
      grows = false;
      for (const Copy& copy : copies_) {
        const bool holds = copy.begin <= range.begin && range.end <= copy.end, is_held = range.begin <= copy.begin && copy.end <= range.end;
        if (with == With::kNothing || copy.IsFree() || holds || is_held || !meet(copy, range)) continue;
        range = {std::min(range.begin, copy.begin), std::max(range.end, copy.end)};
        grows = true;
      }
      for (size_t i = 0; i < count;) {
        if (!meet((*ranges)[i], range)) {
          ++i;
          continue;
        }
        range = {std::min(range.begin, (*ranges)[i].begin), std::max(range.end, (*ranges)[i].end)};
        (*ranges)[i] = (*ranges)[--count];
        grows = true;
      }
    }
    (*ranges)[count++] = range;
  };
  for (const Wanted& memory : wanted) {
    if (memory.begin < memory.end) add({PageDown(memory.begin), PageUp(memory.end)});
  }
  return count;
}

DeviceCopies::Copy* DeviceCopies::CopyWith(PageRange range) {
  const auto holds = [&](const Copy& copy) { return !copy.IsFree() && copy.begin <= range.begin && range.end <= copy.end; };
  const auto found = std::ranges::find_if(copies_, holds);
  return found == copies_.end() ? nullptr : &*found;
}

// One that holds all of the range: known, or a new one, for which those that hold a part of it make way.
DeviceCopies::Copy* DeviceCopies::CopyFor(PageRange range) {
  if (Copy* known = CopyWith(range)) return known;
  for (Copy& copy : copies_) {
    if (!copy.IsFree() && copy.begin < range.end && range.begin < copy.end) Free(copy);
  }
  if (!MakeRoom(range.end - range.begin)) return nullptr;
  Copy& made = *std::ranges::find_if(copies_, &Copy::IsFree);
  made.begin = range.begin;
  made.end = range.end;
  made.AddStale(range);
  if (link_.Post({.op = DeviceOp::kReserve, .buffer = NumberOf(made), .bytes = made.bytes()})) return &made;
  made = {};
  return nullptr;
}

// Whoever of us touches a missing page meanwhile does it for the holder, which changes nothing here.
void DeviceCopies::CopyBytes(uint8_t* to, uint64_t from, uint64_t bytes) {
  if (!copier_) return void(std::memcpy(to, reinterpret_cast<const void*>(from), bytes));
  copying_.store(true, std::memory_order_seq_cst);
  copier_(copier_context_, to, reinterpret_cast<const void*>(from), bytes);
  copying_.store(false, std::memory_order_seq_cst);
  if (server_) server_->AwaitReading();
}

bool DeviceCopies::Send(Copy& copy, PageRange range, double deadline_ns) {
  for (uint64_t at = range.begin; at < range.end; at += kPieceBytes, ++piece_) {
    const uint64_t slot = piece_ % kPieces, bytes = std::min(kPieceBytes, range.end - at), staged = kPiecesAt + slot * kPieceBytes;
    if (piece_ >= kPieces && !link_.WaitFor(under_way_[slot], deadline_ns)) return false;
    CopyBytes(link_.staging() + staged, at, bytes);
    const DeviceCommand command{.op = DeviceOp::kCopyIn, .buffer = NumberOf(copy), .offset = at - copy.begin, .staging = staged, .bytes = bytes};
    if (!link_.Post(command, &under_way_[slot])) return false;
  }
  KeepInLog(copy, range);
  sent_.fetch_add(range.bytes(), std::memory_order_relaxed);
  return true;
}

// What was written of the needed pages is stale, of those that are here. Nothing else is looked at: the rest of a copy's memory may be
// gone by now, and what was written of it the kernel remembers until somebody asks.
void DeviceCopies::Look(Copy& copy, PageRange needed) {
  const bool may_watch = launches_ >= copy.unwatched_until;
  bool all_known = true;
  uint64_t here = 0, written = 0;
  copy.watched = may_watch;
  copy.away.ForEachRun(needed, /*away=*/false, [&](PageRange run) {
    here += run.bytes();
    const auto answer = may_watch ? watch_.LookAt(run.begin, run.end, [&](PageRange range) {
      written += range.bytes();
      copy.AddStale(range);
    }) : WriteWatch::Answer::kCannot;
    if (answer == WriteWatch::Answer::kKnown) return;
    all_known = false;
    copy.watched &= answer != WriteWatch::Answer::kCannot;
    copy.AddStale(run);
  });
  copy.was_watched |= copy.watched;
  if (!may_watch) return;
  copy.written_often = all_known && written > here / 2 ? copy.written_often + 1 : 0;
  if (!copy.watched) copy.unwatched_until = launches_ + kUnwatchedLaunches;
  if (copy.written_often < kOftenWritten || copy.away.IsAnyAway()) return;
  watch_.Forget(needed.begin, needed.end);  // the program pays for each page that it writes first
  copy.watched = false;
  copy.written_often = 0;
  copy.unwatched_until = launches_ + kUnwatchedLaunches;
  copy.AddStale(needed);
}

bool DeviceCopies::Update(Copy& copy, PageRange needed, double deadline_ns) {
  Look(copy, needed);
  uint64_t sent = 0;
  bool good = true;
  copy.stale.ForEachIn(needed, [&](PageRange part) {
    copy.away.ForEachRun(part, /*away=*/false, [&](PageRange run) {
      good = good && Send(copy, run, deadline_ns);
      sent += good ? run.bytes() : 0;
    });
    if (good) copy.stale.Remove(part);
  });
  if (logging_) {
    Unlogged(copy).ForEachIn(needed, [&](PageRange part) {
      copy.away.ForEachRun(part, /*away=*/false, [&](PageRange run) { KeepInLog(copy, run); });
    });
  }
  stayed_.fetch_add(needed.bytes() - std::min(sent, needed.bytes()), std::memory_order_relaxed);
  return good;
}

bool DeviceCopies::Bring(std::span<Wanted> wanted, double deadline_ns) {
  ++launches_;
  piece_ = 0;
  Ranges extents, needed;
  const std::span<const PageRange> all_extents(extents.data(), JoinPages(wanted, With::kCopies, &extents));
  const std::span<const PageRange> all_needed(needed.data(), JoinPages(wanted, With::kNothing, &needed));
  for (const PageRange& extent : all_extents) {  // none of them is to make room for another
    if (Copy* known = CopyWith(extent)) known->last_use = launches_;
  }
  for (const PageRange& extent : all_extents) {
    Copy* copy = CopyFor(extent);
    if (!copy) return false;
    copy->last_use = launches_;
  }
  for (const PageRange& range : all_needed) {
    if (!Update(*CopyWith(range), range, deadline_ns)) return false;
  }
  for (Wanted& memory : wanted) {
    if (memory.begin >= memory.end) continue;
    const Copy& copy = *CopyWith({memory.begin, memory.end});
    memory.buffer = NumberOf(copy);
    memory.copy_begin = copy.begin;
  }
  return true;
}

// What is away was not a part of it; what lies beside may have been sent, or not.
void DeviceCopies::Reset() {
  for (Copy& copy : copies_) {
    if (copy.away.IsAnyAway()) {
      copy.AddStale(copy.extent());
    } else {
      Free(copy);
    }
  }
}

void DeviceCopies::Spoil(uint64_t begin, uint64_t end) {
  for (Copy& copy : copies_) {
    if (!copy.IsFree() && copy.begin < end && begin < copy.end) copy.AddStale({begin, end});
  }
}

void DeviceCopies::Loosen(uint64_t begin, uint64_t end) {
  for (const Copy& copy : copies_) {
    if (!copy.IsFree() && copy.watched && copy.begin <= begin && end <= copy.end) watch_.Loosen(PageDown(begin), PageUp(end));
  }
}

// Writes from here on are found by the next look; those until now, others' among them, show as bytes that differ from the image.
void DeviceCopies::Settle(uint64_t begin, std::span<const uint8_t> image) {
  const uint64_t end = begin + image.size();
  for (Copy& copy : copies_) {
    if (copy.IsFree() || !copy.watched || copy.begin > begin || copy.end < end) continue;
    copy.stale.Remove({PageDown(begin), PageUp(end)});  // what was spoiled by the launch
    // The first and the last page hold bytes beside the image.
    const uint64_t first = PageUp(begin), last = PageDown(end);
    if (first >= last) {
      copy.AddStale({begin, end});
      return;
    }
    copy.AddStale({begin, first});
    copy.AddStale({last, end});
    if (watch_.LookAt(first, last, [](PageRange) {}) != WriteWatch::Answer::kKnown) copy.AddStale({first, last});
    for (uint64_t page = first; page < last; page += kPageBytes) {
      if (std::memcmp(reinterpret_cast<const void*>(page), image.data() + (page - begin), kPageBytes) != 0) copy.AddStale({page, page + kPageBytes});
    }
    return;
  }
}

}  // namespace tracelift::offload

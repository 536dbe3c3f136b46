// What a patched region costs the program, against what it brings, and whether it may stay.
//
// Every arrival at a patched loop costs a few nanoseconds, also those that are only counted, and a pass of the loop may
// take less than that; every entry that comes to nothing costs microseconds. So a region is judged by its balance: what
// its entries saved, less all that. It stays while that is a share of the time that passes; else it rests, unpatched,
// so long that what it cost is only a small share of the time again, and each time in a row for twice as long. What it earned
// before counts for a while: a program whose phases win and lose in turn is judged over more than one of them.
#pragma once

#include <cstdint>

namespace tracelift::offload {

/// Totals of one region since it exists.
struct Tally {
  double now_ms = 0;
  int64_t gain_ns = 0;    // of entries: what the original would have taken for what they did, less what they took
  uint64_t arrivals = 0;  // at its patch, of all threads
};

/// Thread rule: one thread.
class Upkeep {
 public:
  /// It was patched, or what happened before says nothing about it: a new window begins.
  void Open(const Tally& now);

  /// False when it is to rest. `inside`: a thread is in it, and what that saves is not counted yet.
  bool MayStay(const Tally& now, bool inside);

  /// It brought more than it cost, now or when it was last reached.
  bool HasProved(const Tally& now) const;

  /// What it brought since its window began, less what it cost.
  double BalanceNs(const Tally& now) const;

  /// How long it is to rest, having cost so much since its window began; longer with each rest in a row.
  double NextRestMs(const Tally& now);

  int rests() const { return rests_; }

 private:
  Tally opened_;
  double earned_ns_ = 0;  // in the windows before, the latest ones count most,
  double earned_ms_ = 0;  // which were so long
  bool proved_ = false;
  int rests_ = 0;  // in a row
};

}  // namespace tracelift::offload

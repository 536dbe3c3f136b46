#include <algorithm>
#include <iterator>

#include "jit/footprint.h"

namespace tracelift::jit {
namespace {

constexpr size_t kMaxForms = kMaxAccesses + kMaxSlots;
// Taking n writes out of m reads leaves at most n + m pieces of reads.
constexpr size_t kMaxRanges = 2 * kMaxForms;

// Ascending and disjoint; ranges of one kind do not touch. Fixed storage.
template <size_t kCapacity>
struct RangeList {
  ByteRange ranges[kCapacity];
  size_t count = 0;

  void AddInOrder(ByteRange range) {
    if (range.begin >= range.end) return;
    if (count > 0 && range.begin <= ranges[count - 1].end && ranges[count - 1].write == range.write) {
      ranges[count - 1].end = std::max(ranges[count - 1].end, range.end);
    } else {
      ranges[count++] = range;
    }
  }
};

void CollectKind(const Footprint& footprint, bool write, RangeList<kMaxForms>* out) {
  uint16_t order[kMaxForms];
  size_t count = 0;
  for (size_t i = 0; i < footprint.all().size(); ++i) {
    if (footprint.forms[i].write != write) continue;
    size_t at = count++;
    for (; at > 0 && footprint.forms[order[at - 1]].low > footprint.forms[i].low; --at) order[at] = order[at - 1];
    order[at] = static_cast<uint16_t>(i);
  }
  for (size_t i = 0; i < count; ++i) {
    const AccessForm& form = footprint.forms[order[i]];
    out->AddInOrder({form.low, form.high, write});
  }
}

// Both in ascending order, the reads without what is written.
void MergeKinds(const RangeList<kMaxForms>& reads, const RangeList<kMaxForms>& writes, RangeList<kMaxRanges>* out) {
  size_t w = 0;
  for (size_t r = 0; r < reads.count; ++r) {
    ByteRange read = reads.ranges[r];
    while (w < writes.count && writes.ranges[w].begin < read.end) {
      const ByteRange& write = writes.ranges[w];
      out->AddInOrder({read.begin, std::min(read.end, write.begin), false});
      read.begin = std::max(read.begin, std::min(read.end, write.end));
      // A write that goes on behind this read also cuts the next one.
      if (write.end > read.end) break;
      out->AddInOrder(write);
      ++w;
    }
    out->AddInOrder(read);
  }
  for (; w < writes.count; ++w) out->AddInOrder(writes.ranges[w]);
}

// Joins two neighbours: the closest of one kind, or the closest at all when kinds alternate. What a join covers needs
// the permission of both, so reads joined with writes count as written.
void JoinClosest(RangeList<kMaxRanges>* list) {
  size_t best = 1;
  auto cost = [&](size_t i) {
    const ByteRange& a = list->ranges[i - 1];
    const ByteRange& b = list->ranges[i];
    return std::pair(a.write != b.write, b.begin - a.end);
  };
  for (size_t i = 2; i < list->count; ++i) {
    if (cost(i) < cost(best)) best = i;
  }
  list->ranges[best - 1].end = list->ranges[best].end;
  list->ranges[best - 1].write |= list->ranges[best].write;
  std::move(list->ranges + best + 1, list->ranges + list->count, list->ranges + best);
  --list->count;
}

}  // namespace

ReadWindow UnwrittenAround(uint64_t base, ReadWindow window, const Footprint& footprint) {
  for (const AccessForm& form : footprint.all()) {
    if (!form.write) continue;
    if (form.low <= base && base < form.high) return {};
    if (form.high <= base) window.begin = std::max(window.begin, form.high);
    if (form.low > base) window.end = std::min(window.end, form.low);
  }
  return window.begin <= base && base < window.end ? window : ReadWindow{};
}

size_t CollectRanges(const Footprint& footprint, std::span<ByteRange> out) {
  if (out.empty()) return 0;
  RangeList<kMaxForms> reads, writes;
  RangeList<kMaxRanges> all;
  CollectKind(footprint, false, &reads);
  CollectKind(footprint, true, &writes);
  MergeKinds(reads, writes, &all);
  while (all.count > out.size()) JoinClosest(&all);
  std::copy_n(all.ranges, all.count, out.begin());
  return all.count;
}

}  // namespace tracelift::jit

#include "offload/device/away_map.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

namespace tracelift::offload {
namespace {

constexpr uint64_t BytesFor(uint64_t granules) { return PageUp((granules + 63) / 64 * sizeof(uint64_t)); }

}  // namespace

bool AwayMap::Cover(PageRange extent) {
  const PageRange granules = GranulesIn(extent.begin, extent.end);
  if (bits_ && first_ == granules.begin && count_ == granules.bytes() / kGranuleBytes) return true;
  Drop();
  if (granules.IsEmpty()) return false;
  const uint64_t count = granules.bytes() / kGranuleBytes;
  const long mapped = syscall(SYS_mmap, nullptr, BytesFor(count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == -1) return false;
  bits_ = reinterpret_cast<uint64_t*>(mapped);
  first_ = granules.begin;
  count_ = count;
  return true;
}

void AwayMap::Drop() {
  if (bits_) syscall(SYS_munmap, bits_, BytesFor(count_));
  bits_ = nullptr;
  first_ = count_ = away_ = 0;
}

bool AwayMap::IsAway(uint64_t address) const {
  if (away_ == 0 || address < first_) return false;
  const uint64_t index = IndexOf(address);
  return index < count_ && Bit(index);
}

void AwayMap::Set(PageRange granules, bool away) {
  for (uint64_t at = granules.begin; at < granules.end; at += kGranuleBytes) {
    const uint64_t index = IndexOf(at), bit = uint64_t{1} << index % 64;
    if (Bit(index) == away) continue;
    bits_[index / 64] ^= bit;
    away_ += away ? 1 : -uint64_t{1};
  }
}

PageRange AwayMap::RunAt(uint64_t address, uint64_t end) const {
  if (away_ == 0) return {address, end};
  if (address < first_) return {address, std::min(end, IsAway(first_) ? first_ : RunAt(first_, std::max(end, first_)).end)};
  const bool away = IsAway(address);
  uint64_t index = IndexOf(address);
  while (index < count_ && Bit(index) == away) {
    const uint64_t ahead = (away ? ~bits_[index / 64] : bits_[index / 64]) >> index % 64;
    const uint64_t same = ahead == 0 ? 64 - index % 64 : static_cast<uint64_t>(std::countr_zero(ahead));
    if (same == 0) break;
    index += same;
  }
  if (index >= count_ && !away) return {address, end};
  return {address, std::min(end, first_ + std::min(index, count_) * kGranuleBytes)};
}

}  // namespace tracelift::offload

// Slabs of 1 MiB in gaps of the address space near program code.
//
// W^X: an allocation is whole pages. They are writable until Seal makes them executable and read-only; nothing runs
// in them before, so no page is ever both, and code in other pages of the slab runs on undisturbed.
//
// Where: below the anchor first, in the gap nearest to it. The heap grows upwards (brk) and the stack downwards; a slab
// in their way could make the program fail where it did not without us. So they keep half of the gap they grow into.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "jit/patch/mappings.h"
#include "jit/region_image.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kSlabBytes = uint64_t{1} << 20;
constexpr uint64_t kReach = uint64_t{1} << 30;   // leaves another GiB for data that the code addresses
constexpr uint64_t kLowest = uint64_t{1} << 20;  // stay clear of the null pages
constexpr uint64_t kHighest = (uint64_t{1} << 47) - kPage;

uint64_t RoundUp(uint64_t value) { return (value + kPage - 1) & ~(kPage - 1); }

/// Free ranges of whole pages, ascending.
std::vector<AddressRange> FindGaps() {
  std::vector<AddressRange> gaps;
  uint64_t begin = kLowest;
  bool after_heap = false;
  const uint64_t program_break =
      RoundUp(reinterpret_cast<uint64_t>(sbrk(0)));  // where a heap begins that is not there yet
  for (const Mapping& mapping : ReadMappings()) {
    // One page stays free on either side, so that an overrun there still faults.
    if (mapping.range.begin > begin + 2 * kPage) {
      AddressRange gap{begin + kPage, mapping.range.begin - kPage};
      const uint64_t middle = RoundUp(gap.begin + gap.size() / 2);
      if (after_heap || (begin <= program_break && program_break < mapping.range.begin)) gap.begin = middle;
      if (mapping.name == "[stack]") gap.end = std::max(middle, gap.begin);
      gaps.push_back(gap);
    }
    begin = std::max(begin, mapping.range.end);
    after_heap = mapping.name == "[heap]";
  }
  return gaps;
}

/// Begins of possible slabs of `bytes` around `anchor`, best first.
std::vector<uint64_t> Places(uint64_t anchor, uint64_t bytes) {
  const uint64_t low = anchor > kReach + kLowest ? RoundUp(anchor - kReach) : kLowest;
  const uint64_t high = std::min(anchor + kReach, kHighest) & ~(kPage - 1);
  std::vector<uint64_t> below, above;
  for (const AddressRange& gap : FindGaps()) {
    const AddressRange range{std::max(gap.begin, low), std::min(gap.end, high)};
    if (range.end < range.begin || range.size() < bytes) continue;
    if (range.end <= anchor) {
      below.push_back(range.end - bytes);
    } else {
      above.push_back(range.begin);
    }
  }
  std::reverse(below.begin(), below.end());
  below.insert(below.end(), above.begin(), above.end());
  return below;
}

uint8_t* MapAt(uint64_t address, uint64_t bytes) {
  void* const wanted = reinterpret_cast<void*>(address);
  void* const got =
      mmap(wanted, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (got == MAP_FAILED) return nullptr;
  if (got != wanted) {  // kernels before 4.17 take the address as a hint only
    munmap(got, bytes);
    return nullptr;
  }
  return static_cast<uint8_t*>(got);
}

}  // namespace

struct NearMemory::Impl {
  struct Slab {
    AddressRange free;
  };
  std::vector<Slab> slabs;
};

NearMemory::NearMemory() : impl_(std::make_unique<Impl>()) {}
NearMemory::~NearMemory() = default;

uint8_t* NearMemory::Allocate(uint64_t anchor, size_t bytes) {
  bytes = RoundUp(bytes);
  for (Impl::Slab& slab : impl_->slabs) {
    const uint64_t begin = slab.free.begin;
    const uint64_t distance = begin > anchor ? begin + bytes - anchor : anchor - begin;
    if (slab.free.size() < bytes || distance > kReach) continue;
    slab.free.begin += bytes;
    return reinterpret_cast<uint8_t*>(begin);
  }
  const uint64_t slab_bytes = std::max<uint64_t>(kSlabBytes, bytes);
  for (uint64_t place : Places(anchor, slab_bytes)) {
    uint8_t* const memory = MapAt(place, slab_bytes);
    if (memory == nullptr) continue;
    impl_->slabs.push_back({{place + bytes, place + slab_bytes}});
    return memory;
  }
  return nullptr;
}

uint8_t* NearMemory::AllocateWithin(AddressRange window, size_t bytes) {
  bytes = RoundUp(bytes);
  for (const AddressRange& gap : FindGaps()) {
    const AddressRange range{RoundUp(std::max(gap.begin, window.begin)), std::min({gap.end, window.end, kHighest})};
    if (range.end < range.begin || range.size() < bytes) continue;
    if (uint8_t* const memory = MapAt(range.begin, bytes)) return memory;
  }
  return nullptr;
}

bool NearMemory::Seal(uint8_t* memory, size_t bytes) {
  return mprotect(memory, RoundUp(bytes), PROT_READ | PROT_EXEC) == 0;
}

}  // namespace tracelift::jit

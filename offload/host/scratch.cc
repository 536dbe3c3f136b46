#include "offload/host/scratch.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace tracelift::offload {
namespace {

// Larger images are not worth their copying; the entry is then declined.
constexpr size_t kLargestImage = size_t{256} << 20;

template <typename Function>
void ForEachWrite(std::span<const jit::ByteRange> ranges, Function function) {
  size_t offset = 0;
  for (const jit::ByteRange& range : ranges) {
    if (!range.write) continue;
    const size_t size = range.end - range.begin;
    function(reinterpret_cast<uint8_t*>(range.begin), offset, size);
    offset += size;
  }
}

}  // namespace

size_t WrittenBytes(std::span<const jit::ByteRange> ranges) {
  size_t bytes = 0;
  for (const jit::ByteRange& range : ranges) bytes += range.write ? range.end - range.begin : 0;
  return bytes;
}

bool Scratch::Reserve(size_t bytes) {
  if (bytes <= capacity_) return true;
  if (bytes > kLargestImage) return false;
  const size_t size = (bytes + bytes / 4 + 0xffff) & ~size_t{0xffff};
  const long mapped = syscall(SYS_mmap, nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == -1) return false;
  if (memory_) syscall(SYS_munmap, memory_, capacity_);
  memory_ = reinterpret_cast<uint8_t*>(mapped);
  capacity_ = size;
  return true;
}

bool Scratch::Save(std::span<const jit::ByteRange> ranges) {
  if (!Reserve(WrittenBytes(ranges))) return false;
  ForEachWrite(ranges, [this](uint8_t* at, size_t offset, size_t size) { std::memcpy(memory_ + offset, at, size); });
  return true;
}

void Scratch::Restore(std::span<const jit::ByteRange> ranges) const {
  ForEachWrite(ranges, [this](uint8_t* at, size_t offset, size_t size) { std::memcpy(at, memory_ + offset, size); });
}

bool Scratch::Equals(std::span<const jit::ByteRange> ranges, uint64_t* where) const {
  bool equal = true;
  ForEachWrite(ranges, [&](uint8_t* at, size_t offset, size_t size) {
    if (!equal || std::memcmp(at, memory_ + offset, size) == 0) return;
    size_t i = 0;
    while (at[i] == memory_[offset + i]) ++i;
    *where = reinterpret_cast<uint64_t>(at + i);
    equal = false;
  });
  return equal;
}

}  // namespace tracelift::offload

// Copies of byte ranges of the program, kept in memory of our own that is mapped by the kernel's own call: usable on
// the program's thread in the middle of anything, its allocator included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "jit/footprint.h"

namespace tracelift::offload {

class Scratch {
 public:
  /// Copies the write ranges of `ranges`; false when no memory was to be had.
  bool Save(std::span<const jit::ByteRange> ranges);
  /// Puts the bytes of the last Save back.
  void Restore(std::span<const jit::ByteRange> ranges) const;
  /// True when the program's bytes equal the last Save; else *where is the first address that differs.
  bool Equals(std::span<const jit::ByteRange> ranges, uint64_t* where) const;

 private:
  bool Reserve(size_t bytes);
  uint8_t* memory_ = nullptr;
  size_t capacity_ = 0;
};

/// Bytes in the write ranges.
size_t WrittenBytes(std::span<const jit::ByteRange> ranges);

}  // namespace tracelift::offload

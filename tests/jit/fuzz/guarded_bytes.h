// Memory between two inaccessible pages: whoever reads a byte beyond either end of what lies there faults.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tracelift::jit {

class GuardedBytes {
 public:
  /// Room for at most `capacity` bytes.
  explicit GuardedBytes(size_t capacity);
  ~GuardedBytes();
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;

  /// A copy of `bytes`, its last byte before an inaccessible page, or its first one after one. Valid until the next.
  std::span<const uint8_t> Place(std::span<const uint8_t> bytes, bool at_end);

 private:
  uint8_t* mapping_ = nullptr;
  size_t inside_ = 0;  // accessible bytes, whole pages
};

}  // namespace tracelift::jit

// Reads this process's own memory without ever faulting, also where a module was unloaded a moment ago.
#pragma once

#include <array>
#include <cstdint>
#include <map>

namespace tracelift::profiler {

/// Keeps the pages it has read: an unwind asks for many words of few pages. Thread rule: one thread.
class SafeMemory {
 public:
  /// Fills `out` with `bytes` bytes at `address`; false when they cannot be read.
  bool Read(uint64_t address, void* out, uint64_t bytes);

 private:
  static constexpr uint64_t kPage = 4096;
  struct Page {
    bool readable = false;
    std::array<uint8_t, kPage> bytes;
  };
  const Page& Load(uint64_t page);
  std::map<uint64_t, Page> pages_;
};

}  // namespace tracelift::profiler

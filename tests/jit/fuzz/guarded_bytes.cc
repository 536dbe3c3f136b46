#include "tests/jit/fuzz/guarded_bytes.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

namespace tracelift::jit {
namespace {
constexpr size_t kPage = 4096;
}  // namespace

GuardedBytes::GuardedBytes(size_t capacity) : inside_((capacity + kPage - 1) / kPage * kPage) {
  void* mapping = mmap(nullptr, inside_ + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) std::abort();
  mapping_ = static_cast<uint8_t*>(mapping);
  if (mprotect(mapping_ + kPage, inside_, PROT_READ | PROT_WRITE) != 0) std::abort();
}

GuardedBytes::~GuardedBytes() { munmap(mapping_, inside_ + 2 * kPage); }

std::span<const uint8_t> GuardedBytes::Place(std::span<const uint8_t> bytes, bool at_end) {
  if (bytes.size() > inside_) std::abort();
  uint8_t* to = mapping_ + kPage + (at_end ? inside_ - bytes.size() : 0);
  std::copy(bytes.begin(), bytes.end(), to);
  return {to, bytes.size()};
}

}  // namespace tracelift::jit

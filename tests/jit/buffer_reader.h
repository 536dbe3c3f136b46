// A CodeReader over bytes that a test holds: what lies outside of them cannot be read.
#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "jit/code_reader.h"

namespace tracelift::jit {

class BufferReader : public CodeReader {
 public:
  BufferReader(uint64_t base, std::vector<uint8_t> bytes, bool constant = false)
      : base_(base), bytes_(std::move(bytes)), constant_(constant) {}

  /// A copy of [begin, end) of this process, at the same addresses.
  static BufferReader OfMemory(const void* begin, const void* end) {
    return BufferReader(reinterpret_cast<uint64_t>(begin),
                        {static_cast<const uint8_t*>(begin), static_cast<const uint8_t*>(end)});
  }

  bool Read(uint64_t address, std::span<uint8_t> out) const override {
    if (!Holds(address, out.size())) return false;
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + (address - base_), out.size());
    return true;
  }
  bool IsConstant(uint64_t address, size_t size) const override { return constant_ && Holds(address, size); }

  uint64_t base() const { return base_; }
  AddressRange range() const { return {base_, base_ + bytes_.size()}; }
  std::vector<uint8_t>& bytes() { return bytes_; }

 private:
  bool Holds(uint64_t address, size_t size) const {
    return address >= base_ && address - base_ <= bytes_.size() && size <= bytes_.size() - (address - base_);
  }

  uint64_t base_;
  std::vector<uint8_t> bytes_;
  bool constant_;
};

}  // namespace tracelift::jit

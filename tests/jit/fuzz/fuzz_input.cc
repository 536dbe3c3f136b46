#include "tests/jit/fuzz/fuzz_input.h"

#include <cstring>

#include "jit/function_code.h"

namespace tracelift::jit {
namespace {

/// The part of `bytes`, which lie at `begin`, that [address, address+size) is; empty when it is none.
std::span<const uint8_t> PartOf(std::span<const uint8_t> bytes, uint64_t begin, uint64_t address, size_t size) {
  if (address < begin || address - begin > bytes.size() || size > bytes.size() - (address - begin)) return {};
  return bytes.subspan(address - begin, size);
}

/// One of 16, the same for the same address.
uint64_t KindOf(uint64_t address) { return (address ^ address >> 4) % 16; }

}  // namespace

/// Constants and callees; the function itself is no constant.
std::span<const uint8_t> InputReader::PlaceOf(uint64_t address, size_t size) const {
  if (const auto part = PartOf(input_.constants, base_ + kConstantsOffset, address, size); !part.empty()) return part;
  if (!callees_) return {};
  for (size_t i = 0; i < input_.callees.size(); ++i) {
    const auto part = PartOf(input_.callees[i], base_ + kCalleesOffset + i * kCalleeDistance, address, size);
    if (!part.empty()) return part;
  }
  return {};
}

bool InputReader::Read(uint64_t address, std::span<uint8_t> out) const {
  if (out.empty()) return true;
  std::span<const uint8_t> place = PartOf(code_, base_, address, out.size());
  if (place.empty()) place = PlaceOf(address, out.size());
  if (!place.empty()) {
    std::memcpy(out.data(), place.data(), out.size());
    return true;
  }
  return IsConstant(address, out.size()) && input_.library->Read(InLibrary(address), out);
}

bool InputReader::IsConstant(uint64_t address, size_t size) const {
  if (!PlaceOf(address, size).empty()) return true;
  // What is in place of the library's own bytes is not it.
  const bool overlaps_code = address < base_ + code_.size() && base_ < address + size;
  return input_.library != nullptr && !overlaps_code && input_.library->IsConstant(InLibrary(address), size);
}

KnownCallee InputReader::CalleeAt(uint64_t address) const {
  const uint64_t kind = KindOf(address);
  if (!PlaceOf(address, 1).empty() || kind > 3) return KnownCallee::kNone;
  return kind < 2 ? KnownCallee::kMemset : KnownCallee::kMemmove;
}

bool InputReader::NeverReturns(uint64_t address) const {
  return callees_ && PlaceOf(address, 1).empty() && KindOf(address) == 4;
}

KnownCallee InputReader::CalleeThrough(uint64_t address) const {
  return LinkedFunction(address).has_value() ? KnownCallee::kNone : CalleeAt(address);
}

std::optional<uint64_t> InputReader::LinkedFunction(uint64_t entry) const {
  if (!callees_ || entry % 4 == 0) return std::nullopt;  // not bound yet
  if (!input_.callees.empty()) return base_ + kCalleesOffset + entry / 4 % input_.callees.size() * kCalleeDistance;
  if (input_.library == nullptr) return std::nullopt;
  return base_ + entry % 0x10000 * 16;  // some place in the library: the middle of a function, perhaps
}

std::optional<AddressRange> InputReader::FunctionAround(uint64_t address) const {
  if (!callees_) return std::nullopt;
  if (bounds().Contains(address)) return bounds();
  for (size_t i = 0; i < input_.callees.size(); ++i) {
    const uint64_t begin = base_ + kCalleesOffset + i * kCalleeDistance;
    const AddressRange range = {begin, begin + input_.callees[i].size()};
    if (range.Contains(address)) return range;
  }
  if (input_.library == nullptr) return std::nullopt;
  const auto found = FindFunctionBounds(*input_.library, input_.library->eh_frame_hdr(), InLibrary(address));
  if (!found.has_value()) return std::nullopt;
  const AddressRange range = {found->begin - input_.origin + base_, found->end - input_.origin + base_};
  if (range.begin < bounds().end && bounds().begin < range.end) return std::nullopt;  // gave way to the damaged one
  return range;
}

}  // namespace tracelift::jit

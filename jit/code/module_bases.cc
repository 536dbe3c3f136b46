#include "jit/module_bases.h"

#include "jit/code/decoded_function.h"

namespace tracelift::jit {

ModuleBases ModuleBases::Of(const FunctionCode& function, const CodeReader& reader) {
  ModuleBases bases;
  bases.complete_ = true;
  std::optional<ModulePlace> last;  // instructions that follow each other mostly lie in one
  for (const Instruction& instruction : function.decoded().instructions) {
    const uint64_t address = OriginalAddress(instruction.address);
    if (last && last->extent.Contains(address)) continue;
    last = reader.ModuleAround(address);
    if (!last) bases.complete_ = false;
    if (!last || !last->moves || bases.IndexOf(address) >= 0) continue;
    if (bases.count_ == kMaxModules) {
      bases.complete_ = false;
      continue;
    }
    bases.places_[static_cast<size_t>(bases.count_++)] = last->extent;
  }
  return bases;
}

std::array<uint64_t, kMaxModules> ModuleBases::bases() const {
  std::array<uint64_t, kMaxModules> begins{};
  for (int i = 0; i < count_; ++i) begins[static_cast<size_t>(i)] = begin(i);
  return begins;
}

int ModuleBases::IndexOf(uint64_t address) const {
  for (int i = 0; i < count_; ++i) {
    if (places_[static_cast<size_t>(i)].Contains(address)) return i;
  }
  return -1;
}

PlacedAddress ModuleBases::Place(uint64_t address) const {
  const int module = IndexOf(OriginalAddress(address));
  return module < 0 ? PlacedAddress{-1, address} : PlacedAddress{static_cast<int8_t>(module), address - begin(module)};
}

std::optional<uint64_t> ModuleBases::AddressOf(PlacedAddress place) const {
  if (place.module == -1) return place.offset;
  if (place.module < 0 || place.module >= count_) return std::nullopt;
  return begin(place.module) + place.offset;
}

}  // namespace tracelift::jit

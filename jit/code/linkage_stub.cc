#include "jit/linkage_stub.h"

#include <cstring>

namespace tracelift::jit {

std::optional<uint64_t> PointerOfLinkageStub(const CodeReader& reader, uint64_t address) {
  constexpr uint8_t kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
  uint8_t stub[11];  // the longest form; what follows a shorter one can be read as well
  if (!reader.Read(address, stub)) return std::nullopt;
  size_t at = std::memcmp(stub, kEndbr64, sizeof(kEndbr64)) == 0 ? sizeof(kEndbr64) : 0;
  if (stub[at] == 0xf2) ++at;
  if (stub[at] != 0xff || stub[at + 1] != 0x25) return std::nullopt;
  int32_t displacement = 0;
  std::memcpy(&displacement, stub + at + 2, sizeof(displacement));
  return address + at + 6 + static_cast<uint64_t>(int64_t{displacement});
}

}  // namespace tracelift::jit

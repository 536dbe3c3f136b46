#include "offload/runtime/live_reader.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "jit/function_code.h"

namespace tracelift::offload {

bool LiveReader::Read(uint64_t address, std::span<uint8_t> out) const {
  // The kernel checks the range: an unmapped page is an error, not a fault.
  const iovec local{out.data(), out.size()};
  const iovec remote{reinterpret_cast<void*>(address), out.size()};
  if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != static_cast<ssize_t>(out.size())) return false;
  if (patcher_ != nullptr) patcher_->ShowOriginal(address, out);
  return true;
}

bool LiveReader::IsConstant(uint64_t address, size_t size) const { 
  const profiler::Module* module = modules_.Find(address);
  return module && module->IsConstant(address, size);
}

jit::AddressRange LiveReader::ConstantAround(uint64_t address) const {
  const profiler::Module* module = modules_.Find(address);
  if (module == nullptr) return {};
  const auto range = std::ranges::find_if(module->constant, [&](const auto& constant) { return constant.Contains(address); });
  return range == module->constant.end() ? jit::AddressRange{} : jit::AddressRange{range->begin, range->end};
}

std::optional<uint64_t> LiveReader::LinkedFunction(uint64_t entry) const {
  uint64_t target = 0;
  if (!Read(entry, {reinterpret_cast<uint8_t*>(&target), sizeof(target)})) return std::nullopt;
  const profiler::Module* module = modules_.Find(target);
  uint8_t code[5];
  if (module == nullptr || !module->IsText(target) || !Read(target, code)) return std::nullopt;
  // Until it is bound the entry leads to its own stub: [endbr64] push number.
  constexpr uint8_t kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa}, kPush = 0x68;
  const uint8_t first = std::memcmp(code, kEndbr64, sizeof(kEndbr64)) == 0 ? code[4] : code[0];
  return first == kPush ? std::nullopt : std::optional(target);
}

std::optional<jit::AddressRange> LiveReader::FunctionAround(uint64_t address) const {
  const profiler::Module* module = modules_.Find(address);
  if (module == nullptr || module->eh_frame_hdr.begin == 0) return std::nullopt;
  return jit::FindFunctionBounds(*this, module->eh_frame_hdr.begin, address);
}

jit::KnownCallee LiveReader::CalleeThrough(uint64_t address) const {
  uint64_t target = 0;
  if (!Read(address, {reinterpret_cast<uint8_t*>(&target), sizeof(target)})) return jit::KnownCallee::kNone;
  // Our own linkage ends in the same variants of glibc. Another function of that name (an interposer's) is unknown, and
  // so is an entry that the loader has not bound yet.
  if (target == reinterpret_cast<uint64_t>(&std::memset)) return jit::KnownCallee::kMemset;
  if (target == reinterpret_cast<uint64_t>(static_cast<void* (*)(void*, const void*, size_t)>(&std::memcpy)) ||
      target == reinterpret_cast<uint64_t>(&std::memmove)) {
    return jit::KnownCallee::kMemmove;
  }
  return jit::KnownCallee::kNone;
}

jit::KnownCallee LiveReader::CalleeAt(uint64_t address) const {
  // A linkage stub: [endbr64] [bnd] jmp [rip+x].
  uint8_t stub[16];
  if (!Read(address, stub)) return jit::KnownCallee::kNone;
  constexpr uint8_t kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
  size_t at = std::memcmp(stub, kEndbr64, sizeof(kEndbr64)) == 0 ? sizeof(kEndbr64) : 0;
  if (stub[at] == 0xf2) ++at;
  if (stub[at] != 0xff || stub[at + 1] != 0x25) return jit::KnownCallee::kNone;
  int32_t displacement = 0;
  std::memcpy(&displacement, stub + at + 2, sizeof(displacement));
  return CalleeThrough(address + at + 6 + static_cast<uint64_t>(static_cast<int64_t>(displacement)));
}

}  // namespace tracelift::offload

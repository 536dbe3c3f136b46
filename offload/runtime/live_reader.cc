#include "offload/runtime/live_reader.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

namespace tracelift::offload {

bool LiveReader::Read(uint64_t address, std::span<uint8_t> out) const {
  // The kernel checks the range: an unmapped page is an error, not a fault.
  const iovec local{out.data(), out.size()};
  const iovec remote{reinterpret_cast<void*>(address), out.size()};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(out.size());
}

bool LiveReader::IsConstant(uint64_t address, size_t size) const { 
  const profiler::Module* module = modules_.Find(address);
  return module && module->IsConstant(address, size);
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

#include "offload/runtime/live_reader.h"

#include <sys/uio.h>
#include <unistd.h>

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

}  // namespace tracelift::offload

#include "profiler/unwind/safe_memory.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace tracelift::profiler {

const SafeMemory::Page& SafeMemory::Load(uint64_t address) {
  auto [found, is_new] = pages_.try_emplace(address);
  Page& page = found->second;
  if (!is_new) return page;
  iovec local{page.bytes.data(), kPage};
  iovec remote{reinterpret_cast<void*>(address), kPage};
  ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  if (got < 0) {
    // Some containers forbid process_vm_readv; the file does the same.
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (memory >= 0) {
      got = pread(memory, page.bytes.data(), kPage, static_cast<off_t>(address));
      close(memory);
    }
  }
  page.readable = got == static_cast<ssize_t>(kPage);
  return page;
}

bool SafeMemory::Read(uint64_t address, void* out, uint64_t bytes) {
  auto* to = static_cast<uint8_t*>(out);
  while (bytes != 0) {
    uint64_t within = address & (kPage - 1);
    uint64_t part = std::min(bytes, kPage - within);
    const Page& page = Load(address - within);
    if (!page.readable) return false;
    std::memcpy(to, page.bytes.data() + within, part);
    to += part;
    address += part;
    bytes -= part;
  }
  return true;
}

}  // namespace tracelift::profiler

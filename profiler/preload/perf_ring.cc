#include "profiler/preload/perf_ring.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <sys/mman.h>

#include <cstring>

#include "profiler/preload/raw_syscalls.h"

namespace tracelift::preload {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr unsigned kSamplePages = 4;  // 512 samples: half a second at 1 kHz
constexpr unsigned kStackPages = 16;  // 7 stacks

// Registers in the kernel's order of bits (asm/perf_regs.h): AX BX CX DX SI DI BP SP IP, and R8 to R15 from bit 16.
constexpr uint64_t kRegisters = 0x1ff | (0xffull << 16);
constexpr int kRegisterCount = 17;
constexpr int kHardwareOrder[] = {0, 3, 1, 2, 6, 7, 5, 4, /*ip*/ -1, 8, 9, 10, 11, 12, 13, 14, 15};

perf_event_attr ClockAttributes(int hz, PerfAccess access) {
  perf_event_attr attributes{};
  attributes.size = sizeof(attributes);
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_CPU_CLOCK;
  attributes.sample_period = 1'000'000'000u / static_cast<unsigned>(hz);
  attributes.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME;
  attributes.exclude_kernel = access == PerfAccess::kUserOnly;
  attributes.exclude_hv = 1;
  attributes.use_clockid = 1;
  attributes.clockid = CLOCK_MONOTONIC;
  return attributes;
}

struct SampleRecord {
  uint64_t ip;
  uint32_t pid, tid;
  uint64_t time_ns;
};

}  // namespace

int PerfRing::Open(void* attributes, int tid, unsigned data_pages) {
  const int fd = static_cast<int>(
      Syscall(SYS_perf_event_open, AsLong(attributes), tid, /*cpu=*/-1, /*group=*/-1, PERF_FLAG_FD_CLOEXEC));
  if (fd < 0) return fd;
  long mapped = 0;
  // What may be locked is limited (perf_event_mlock_kb, RLIMIT_MEMLOCK): a smaller ring is better than none.
  for (; data_pages > 0; data_pages /= 2) {
    mapped = Syscall(SYS_mmap, 0, static_cast<long>((1 + data_pages) * kPageBytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                     fd, 0);
    if (mapped > 0 || mapped < -4095) break;
  }
  CloseFile(fd);
  if (mapped < 0 && mapped >= -4095) return static_cast<int>(mapped);
  base_ = reinterpret_cast<char*>(mapped);
  data_bytes_ = data_pages * kPageBytes;
  return 0;
}

int PerfRing::OpenSamples(int tid, int hz, PerfAccess access) {
  perf_event_attr attributes = ClockAttributes(hz, access);
  return Open(&attributes, tid, kSamplePages);
}

int PerfRing::OpenStacks(int tid, int hz, PerfAccess access) {
  perf_event_attr attributes = ClockAttributes(hz, access);
  attributes.sample_type |= PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER;
  attributes.sample_regs_user = kRegisters;
  attributes.sample_stack_user = kTlStackBytes;
  return Open(&attributes, tid, kStackPages);
}

void PerfRing::Close() {
  if (base_) Syscall(SYS_munmap, AsLong(base_), static_cast<long>(kPageBytes + data_bytes_));
  base_ = nullptr;
}

void PerfRing::Copy(uint64_t position, void* out, uint64_t bytes) const {
  const uint64_t offset = position & (data_bytes_ - 1);
  const char* data = base_ + kPageBytes;
  const uint64_t first = bytes < data_bytes_ - offset ? bytes : data_bytes_ - offset;
  memcpy(out, data + offset, first);
  memcpy(static_cast<char*>(out) + first, data, bytes - first);
}

void PerfRing::Drain(SampleQueue* queue, uint64_t* lost) {
  if (!base_) return;
  auto* page = reinterpret_cast<perf_event_mmap_page*>(base_);
  // Pairs with the kernel's release of data_head: the records before it are complete.
  const uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
  uint64_t tail = page->data_tail;
  while (tail < head) {
    perf_event_header header;
    Copy(tail, &header, sizeof(header));
    if (header.size < sizeof(header)) {
      tail = head;
      break;
    }
    if (header.type == PERF_RECORD_SAMPLE && header.size >= sizeof(header) + sizeof(SampleRecord)) {
      SampleRecord record;
      Copy(tail + sizeof(header), &record, sizeof(record));
      const bool user = (header.misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER;
      queue->Push({.ip = record.ip, .time_ns = record.time_ns, .tid = record.tid, .user = user});
    } else if (header.type == PERF_RECORD_LOST) {
      uint64_t id_and_count[2];
      Copy(tail + sizeof(header), id_and_count, sizeof(id_and_count));
      *lost += id_and_count[1];
    }
    tail += header.size;
  }
  // The kernel may overwrite what lies before the tail only after our reads of it.
  __atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
}

int PerfRing::DrainStacks(TlStackSample* out, int max, uint64_t* lost) {
  if (!base_) return 0;
  auto* page = reinterpret_cast<perf_event_mmap_page*>(base_);
  const uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
  uint64_t tail = page->data_tail;
  int n = 0;
  while (tail < head && n < max) {
    perf_event_header header;
    Copy(tail, &header, sizeof(header));
    if (header.size < sizeof(header)) {
      tail = head;
      break;
    }
    const uint64_t end = tail + header.size;
    uint64_t at = tail + sizeof(header);
    if (header.type == PERF_RECORD_LOST) {
      uint64_t id_and_count[2];
      Copy(at, id_and_count, sizeof(id_and_count));
      *lost += id_and_count[1];
    } else if (header.type == PERF_RECORD_SAMPLE) {
      SampleRecord record;
      Copy(at, &record, sizeof(record));
      at += sizeof(record);
      uint64_t abi = 0;
      Copy(at, &abi, sizeof(abi));
      at += sizeof(abi);
      if (abi == PERF_SAMPLE_REGS_ABI_64) {
        uint64_t registers[kRegisterCount];
        Copy(at, registers, sizeof(registers));
        at += sizeof(registers);
        uint64_t stack_space = 0;
        Copy(at, &stack_space, sizeof(stack_space));
        at += sizeof(stack_space);
        TlStackSample& sample = out[n];
        for (int i = 0; i < kRegisterCount; ++i) {
          if (kHardwareOrder[i] >= 0) sample.gpr[kHardwareOrder[i]] = registers[i];
        }
        sample.ip = registers[8];  // user mode, also when the sample fell into a system call
        sample.sp = sample.gpr[4];
        sample.bp = sample.gpr[5];
        sample.tid = record.tid;
        sample.stack_bytes = 0;
        if (stack_space != 0 && stack_space <= kTlStackBytes && at + stack_space + 8 <= end) {
          uint64_t used = 0;
          Copy(at + stack_space, &used, sizeof(used));
          if (used > stack_space) used = 0;
          Copy(at, sample.stack, used);
          sample.stack_bytes = static_cast<uint32_t>(used);
        }
        ++n;
      }
    }
    tail = end;
  }
  __atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
  return n;
}

}  // namespace tracelift::preload

// Two sources answer which mapping covers an address: the PROCMAP_QUERY ioctl of Linux 6.11 (0.3 us), and the text of
// /proc/thread-self/maps (tens of us). Mappings of files need one more question, since pages behind the end of a file
// are mapped but raise SIGBUS: populating the last page in question fails there, and what holds for the last page
// holds for those before it. It fails as well for device memory and [vvar].
#include "offload/host/memory_map.h"

#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/ioctl.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace tracelift::offload {
namespace {

// Of /proc/self, nothing is left once the main thread has ended.
constexpr char kMapsPath[] = "/proc/thread-self/maps";
constexpr uint64_t kPageBytes = 4096;
constexpr int kAdvicePopulateRead = 22;  // MADV_POPULATE_READ, Linux 5.14

// struct procmap_query and PROCMAP_QUERY of linux/fs.h (6.11); Debian 12's headers are older.
struct ProcmapQuery {
  uint64_t size = sizeof(ProcmapQuery);
  uint64_t query_flags = 0;
  uint64_t query_addr = 0;
  uint64_t vma_start = 0;
  uint64_t vma_end = 0;
  uint64_t vma_flags = 0;
  uint64_t vma_page_size = 0;
  uint64_t vma_offset = 0;
  uint64_t inode = 0;
  uint32_t dev_major = 0;
  uint32_t dev_minor = 0;
  uint32_t vma_name_size = 0;
  uint32_t build_id_size = 0;
  uint64_t vma_name_addr = 0;
  uint64_t build_id_addr = 0;
};
static_assert(sizeof(ProcmapQuery) == 104);
constexpr unsigned long kProcmapQuery = _IOWR('f', 17, ProcmapQuery);
constexpr uint64_t kVmaReadable = 1;
constexpr uint64_t kVmaWritable = 2;

// Returns -errno on failure, as the kernel does.
long SystemCall(long number, long a = 0, long b = 0, long c = 0, long d = 0) {
  long result;
  register long r10 asm("r10") = d;
  asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return result;
}

int OpenMaps() {
  return static_cast<int>(SystemCall(__NR_openat, AT_FDCWD, reinterpret_cast<long>(kMapsPath), O_RDONLY | O_CLOEXEC));
}

void Close(int fd) { SystemCall(__NR_close, fd); }

struct Mapping {
  uint64_t begin = 0, end = 0;
  bool readable = false, writable = false;
  bool anonymous = false;  // no file behind it; may still be one of the kernel's own

  bool Covers(uint64_t address) const { return begin <= address && address < end; }
};

enum class Lookup : uint8_t { kFound, kNothingThere, kNoSource };

// The descriptor is kept for the life of the process, bound to the address space that opened it.
class KeptDescriptor {
 public:
  // -errno when it cannot be opened. *owned: the caller closes it after use.
  int Get(bool* owned) {
    const long pid = SystemCall(__NR_getpid);
    *owned = false;
    if (const int fd = fd_.load(std::memory_order_acquire); fd >= 0) {
      if (pid == pid_.load(std::memory_order_relaxed)) return fd;
      // A child: ours belongs to the parent's memory. A vfork child shares this object, so leave it alone.
      *owned = true;
      return OpenMaps();
    }
    return Open(pid, owned);
  }

  // The program closed our descriptor, and its number may be another file by now: forget it without closing.
  void Forget(int fd) { fd_.compare_exchange_strong(fd, -1, std::memory_order_acq_rel); }

 private:
  int Open(long pid, bool* owned) {
    const int low = OpenMaps();
    if (low < 0) return low;
    // Programs that print or expect certain descriptors should not notice ours.
    long fd = -EINVAL;
    for (const int at_least : {1000, 240}) {
      fd = SystemCall(__NR_fcntl, low, F_DUPFD_CLOEXEC, at_least);
      if (fd >= 0) break;
    }
    if (fd < 0) {
      *owned = true;
      return low;
    }
    Close(low);
    pid_.store(pid, std::memory_order_relaxed);
    int none = -1;
    // Release: whoever sees the descriptor sees the pid. Threads that race here store the same pid.
    if (fd_.compare_exchange_strong(none, static_cast<int>(fd), std::memory_order_acq_rel)) return static_cast<int>(fd);
    Close(static_cast<int>(fd));
    return none;
  }

  std::atomic<int> fd_{-1};
  std::atomic<long> pid_{0};
};
constinit KeptDescriptor g_descriptor;

// Asks the kernel about one address at a time.
class QuerySource {
 public:
  QuerySource() { fd_ = g_descriptor.Get(&owned_); }
  ~QuerySource() {
    if (owned_ && fd_ >= 0) Close(fd_);
  }
  QuerySource(const QuerySource&) = delete;
  QuerySource& operator=(const QuerySource&) = delete;

  Lookup Find(uint64_t address, Mapping* out) {
    ProcmapQuery query;
    query.query_addr = address;
    long result = Ask(&query);
    if ((result == -EBADF || result == -ENOTTY) && !owned_) {
      // Either the kernel is old, or the number is no longer ours: a fresh descriptor tells.
      g_descriptor.Forget(fd_);
      fd_ = OpenMaps();
      owned_ = true;
      result = Ask(&query);
    }
    if (result == -ENOENT) return Lookup::kNothingThere;
    if (result != 0) return Lookup::kNoSource;
    *out = {.begin = query.vma_start,
            .end = query.vma_end,
            .readable = (query.vma_flags & kVmaReadable) != 0,
            .writable = (query.vma_flags & kVmaWritable) != 0,
            .anonymous = query.inode == 0};
    return Lookup::kFound;
  }

 private:
  long Ask(ProcmapQuery* query) const {
    if (fd_ < 0) return fd_;
    return SystemCall(__NR_ioctl, fd_, static_cast<long>(kProcmapQuery), reinterpret_cast<long>(query));
  }

  int fd_ = -1;
  bool owned_ = false;
};

// Reads the text forwards; starts again when asked for a lower address.
class TextSource {
 public:
  TextSource() : fd_(OpenMaps()) {}
  ~TextSource() {
    if (fd_ >= 0) Close(fd_);
  }
  TextSource(const TextSource&) = delete;
  TextSource& operator=(const TextSource&) = delete;

  Lookup Find(uint64_t address, Mapping* out) {
    if (fd_ < 0) return Lookup::kNoSource;
    if (address < current_.begin && !Rewind()) return Lookup::kNoSource;
    while (current_.end <= address) {
      if (!ParseLine()) return damaged_ ? Lookup::kNoSource : Lookup::kNothingThere;
    }
    *out = current_;
    return current_.Covers(address) ? Lookup::kFound : Lookup::kNothingThere;
  }

 private:
  bool Rewind() {
    filled_ = position_ = 0;
    current_ = {};
    return SystemCall(__NR_lseek, fd_, 0, 0) == 0;
  }

  // -1 at the end.
  int NextCharacter() {
    if (position_ == filled_) {
      long got;
      do {
        got = SystemCall(__NR_read, fd_, reinterpret_cast<long>(buffer_), sizeof buffer_);
      } while (got == -EINTR);
      if (got < 0) damaged_ = true;
      if (got <= 0) return -1;
      filled_ = static_cast<size_t>(got);
      position_ = 0;
    }
    return static_cast<unsigned char>(buffer_[position_++]);
  }

  // A number that ends with `end`.
  bool ParseNumber(unsigned base, int end, uint64_t* out) {
    *out = 0;
    for (int c = NextCharacter();; c = NextCharacter()) {
      if (c == end) return true;
      unsigned digit = 99;
      if (c >= '0' && c <= '9') digit = static_cast<unsigned>(c - '0');
      if (c >= 'a' && c <= 'f') digit = static_cast<unsigned>(c - 'a') + 10;
      if (digit >= base) return false;
      *out = *out * base + digit;
    }
  }

  // "7f0000000000-7f0000001000 rw-p 00000000 00:00 0        [heap]"; false at the end.
  bool ParseLine() {
    const int first = NextCharacter();
    if (first < 0) return false;
    --position_;
    uint64_t unused = 0, inode = 0;
    char permissions[4] = {};
    damaged_ = true;
    if (!ParseNumber(16, '-', &current_.begin) || !ParseNumber(16, ' ', &current_.end)) return false;
    for (char& permission : permissions) permission = static_cast<char>(NextCharacter());
    if (NextCharacter() != ' ') return false;
    if (!ParseNumber(16, ' ', &unused) || !ParseNumber(16, ':', &unused) || !ParseNumber(16, ' ', &unused))
      return false;
    int c = NextCharacter();
    for (; c >= '0' && c <= '9'; c = NextCharacter()) inode = inode * 10 + static_cast<uint64_t>(c - '0');
    // Names hold no line ends: the kernel writes them as \012.
    while (c != '\n') {
      if (c < 0) return false;
      c = NextCharacter();
    }
    damaged_ = false;
    current_.readable = permissions[0] == 'r';
    current_.writable = permissions[1] == 'w';
    current_.anonymous = inode == 0;
    return true;
  }

  int fd_;
  bool damaged_ = false;
  Mapping current_;
  size_t filled_ = 0, position_ = 0;
  char buffer_[4096];
};

// The pages of [begin, end) within `mapping` can be touched without SIGBUS.
bool IsBacked(const Mapping& mapping, uint64_t end) {
  // Writable memory without a file is the program's own; the kernel's pages ([vvar], [vdso]) are never writable.
  if (mapping.anonymous && mapping.writable) return true;
  const uint64_t last = (end < mapping.end ? end : mapping.end) - 1;
  return SystemCall(__NR_madvise, static_cast<long>(last & ~(kPageBytes - 1)), static_cast<long>(kPageBytes),
                    kAdvicePopulateRead) == 0;
}

template <typename Source>
Lookup Check(std::span<const jit::ByteRange> ranges, Source& source) {
  Mapping mapping;
  for (const jit::ByteRange& range : ranges) {
    for (uint64_t at = range.begin; at < range.end; at = mapping.end) {
      if (!mapping.Covers(at)) {
        const Lookup found = source.Find(at, &mapping);
        if (found != Lookup::kFound) return found;
      }
      if (!mapping.readable || (range.write && !mapping.writable)) return Lookup::kNothingThere;
      if (!IsBacked(mapping, range.end)) return Lookup::kNothingThere;
    }
  }
  return Lookup::kFound;
}

// Static data begin in the file's last page and go on without one; a few such seams are enough.
constexpr int kMostNeighbours = 8;

template <typename Source>
Lookup FindAround(uint64_t address, Source& source, jit::ReadWindow* out) {
  Mapping mapping;
  const auto readable_at = [&](uint64_t at) {
    const Lookup found = source.Find(at, &mapping);
    if (found == Lookup::kFound && !(mapping.readable && IsBacked(mapping, mapping.end))) return Lookup::kNothingThere;
    return found;
  };
  *out = {};
  if (const Lookup found = readable_at(address); found != Lookup::kFound) return found;
  *out = {mapping.begin, mapping.end};
  for (int i = 0; i < kMostNeighbours && readable_at(out->end) == Lookup::kFound; ++i) out->end = mapping.end;
  for (int i = 0; i < kMostNeighbours && out->begin > 0 && readable_at(out->begin - 1) == Lookup::kFound; ++i) {
    out->begin = mapping.begin;
  }
  return Lookup::kFound;
}

}  // namespace

bool PrepareMemoryMap() {
  bool owned = false;
  const int fd = g_descriptor.Get(&owned);
  if (owned && fd >= 0) Close(fd);
  return fd >= 0;
}

bool RangesUsable(std::span<const jit::ByteRange> ranges) {
  {
    QuerySource source;
    const Lookup result = Check(ranges, source);
    if (result != Lookup::kNoSource) return result == Lookup::kFound;
  }
  return RangesUsableFromText(ranges);
}

bool RangesUsableFromText(std::span<const jit::ByteRange> ranges) {
  TextSource source;
  return Check(ranges, source) == Lookup::kFound;
}

jit::ReadWindow ReadableAround(uint64_t address) {
  jit::ReadWindow around;
  {
    QuerySource source;
    if (FindAround(address, source, &around) != Lookup::kNoSource) return around;
  }
  return ReadableAroundFromText(address);
}

jit::ReadWindow ReadableAroundFromText(uint64_t address) {
  TextSource source;
  jit::ReadWindow around;
  FindAround(address, source, &around);
  return around;
}

}  // namespace tracelift::offload

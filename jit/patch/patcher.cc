// Changing one instruction of a program whose threads are running it.
//
// The instruction becomes `jmp stub` (5 bytes) or `int3` (1 byte). It is replaced as a whole, so the only question is
// what a core may execute while the bytes change.
//
// kAtomicJump. The bytes that change lie within one aligned 8-byte word, written by one store. AMD states that a core
// then executes either the old or the new instruction (AMD64 Architecture Programmer's Manual vol. 2, section 7.6.1,
// "Cross-Modifying Code", asynchronous modification within a naturally aligned quadword). Intel documents only the
// protocol in which the other cores wait and serialize (Software Developer's Manual vol. 3A, "Handling Self- and
// Cross-Modifying Code", 9.1.3, formerly 8.1.3), but its cores behave so too: HotSpot (NativeJump, NativeCall) and
// .NET have relied on it on every Intel core for two decades.
//
// kTrappedJump. The bytes cross an 8-byte boundary, so a core might fetch half of them:
//     1. int3 over the first byte            one byte: old or new
//     2. membarrier(SYNC_CORE)               every thread of the process has executed a serializing instruction: no
//                                            core holds a decoded or half fetched old instruction; all see int3
//     3. bytes 1 to 4 of the new
//     4. membarrier(SYNC_CORE)
//     5. the first byte of the new
// A thread that meets the int3 is sent to the stub by the SIGTRAP handler (HandleTrap), as if the jump were there.
// Taking it away is the same with the old bytes: the first byte is always the last to change. The trap is answered
// even after that, for the thread that executed int3 just before.
//
// kTrap. Step 1 alone.
//
// Pages are made writable for the write only, and stay executable meanwhile because other threads run in them. Their
// protection comes from /proc/self/maps and is put back. What lies at the site is compared with what is expected
// first: a module may have been unloaded, or someone else may have changed the code. A jump may rely on code behind
// it that it does not change (patch_site.h): no other site may be installed there meanwhile.
//
// RestoreAll runs in a forked child, where any lock may be held for ever by a thread that is no more: the table has a
// fixed size, and an entry is complete before its state says that bytes or protection may differ, which it does from
// before the first mprotect until after the last. fork copies page by page while other threads run, but never while
// one of them is inside mprotect: so a child that has changed code also has the entry that says so. There is one
// thread in it, so bytes are simply copied.

#include <errno.h>
#include <fmt/format.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "jit/patch/mappings.h"
#include "jit/region_image.h"

namespace tracelift::jit {
namespace {

constexpr int kMaxSites = 1024;
constexpr uint64_t kPageBytes = 4096;
constexpr size_t kMaxExpectedBytes = 4 + 15;
constexpr size_t kJumpBytes = 5;
constexpr uint8_t kInt3 = 0xcc;

enum class SiteState : uint32_t { kOriginal, kMayDiffer };  // of the bytes and the pages' protection

struct Page {
  uint64_t address = 0;
  int protection = 0;
};

struct Site {
  // Written by the patching thread in state kOriginal.
  uint8_t original[kMaxExpectedBytes] = {};  // also those that it relies on only
  size_t original_bytes = 0;
  PatchKind kind{};
  uint8_t patched[kJumpBytes] = {};
  size_t patched_bytes = 0;
  std::array<Page, 2> pages;
  size_t page_count = 0;
  // Read by signal handlers of any thread: release after what they describe.
  std::atomic<uint64_t> address{0};
  std::atomic<uint64_t> stub{0};
  std::atomic<uint64_t> displaced{0}, behind_displaced{0};  // RegionImage::displaced
  std::atomic<SiteState> state{SiteState::kOriginal};

  uint8_t* code() const { return reinterpret_cast<uint8_t*>(address.load(std::memory_order_relaxed)); }
};

long Membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0); }

bool RegisterSyncCore() {
  const long offered = Membarrier(MEMBARRIER_CMD_QUERY);
  return offered > 0 && (offered & MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE) != 0 &&
         Membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) == 0;
}

void SyncCores() { Membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE); }

Rejection NotPatchable(uint64_t site, std::string why) {
  return {RejectionReason::kCodeNotPatchable, site, std::move(why)};
}

void StoreByte(uint8_t* at, uint8_t byte) { std::atomic_ref(*at).store(byte, std::memory_order_release); }

/// One aligned 8-byte store; the other bytes of the word are written as they are.
void StoreInWord(uint8_t* at, const uint8_t* bytes, size_t count) {
  const auto address = reinterpret_cast<uint64_t>(at);
  auto* const word = reinterpret_cast<uint64_t*>(address & ~uint64_t{7});
  uint64_t value = std::atomic_ref(*word).load(std::memory_order_relaxed);
  std::memcpy(reinterpret_cast<uint8_t*>(&value) + (address & 7), bytes, count);
  std::atomic_ref(*word).store(value, std::memory_order_release);
}

void StoreBehindTrap(uint8_t* at, const uint8_t* bytes, size_t count) {
  StoreByte(at, kInt3);
  SyncCores();
  for (size_t i = 1; i < count; ++i) StoreByte(at + i, bytes[i]);
  SyncCores();
  StoreByte(at, bytes[0]);
}

void Write(const Site& site, const uint8_t* bytes) {
  switch (site.kind) {
    case PatchKind::kAtomicJump:
      StoreInWord(site.code(), bytes, site.patched_bytes);
      break;
    case PatchKind::kTrappedJump:
      StoreBehindTrap(site.code(), bytes, kJumpBytes);
      break;
    case PatchKind::kTrap:
      StoreByte(site.code(), bytes[0]);
      break;
  }
}

/// Also when a change was cut short by fork.
bool HoldsOurBytes(const Site& site) {
  const uint8_t* const code = site.code();
  for (size_t i = 0; i < site.patched_bytes; ++i) {
    if (code[i] == site.original[i] || code[i] == site.patched[i] || (i == 0 && code[i] == kInt3)) continue;
    return false;
  }
  return true;
}

/// Async-signal-safe. False, with all as before, when a page cannot be made writable.
bool MakeWritable(const Site& site) {
  const auto protect = [](const Page& page, int protection) {
    return mprotect(reinterpret_cast<void*>(page.address), kPageBytes, protection) == 0;
  };
  for (size_t i = 0; i < site.page_count; ++i) {
    if (protect(site.pages[i], PROT_READ | PROT_WRITE | PROT_EXEC)) continue;
    const int error = errno;
    while (i-- > 0) protect(site.pages[i], site.pages[i].protection);
    errno = error;
    return false;
  }
  return true;
}

void RestoreProtection(const Site& site) {
  for (size_t i = 0; i < site.page_count; ++i) {
    mprotect(reinterpret_cast<void*>(site.pages[i].address), kPageBytes, site.pages[i].protection);
  }
}

/// Notes the pages that the instruction lies in; false when one of them is not mapped executable (any more).
bool FindPages(Site* site) {
  const std::vector<Mapping> mappings = ReadMappings();
  const auto begin = reinterpret_cast<uint64_t>(site->code());
  std::array<Page, 2> pages;
  size_t count = 0;
  for (uint64_t page = begin & ~(kPageBytes - 1); page < begin + site->original_bytes; page += kPageBytes) {
    const std::optional<int> protection = ProtectionAt(mappings, page);
    if (!protection || (*protection & PROT_EXEC) == 0) return false;
    pages[count++] = {page, *protection};
  }
  site->pages = pages;
  site->page_count = count;
  return true;
}

}  // namespace

struct Patcher::Impl {
  std::array<Site, kMaxSites> sites;
  std::atomic<int> site_count{0};  // release after the site is complete; never shrinks
  bool can_sync = false;           // constant after Create

  Site* Find(uint64_t address) {
    const int count = site_count.load(std::memory_order_acquire);
    for (int i = 0; i < count; ++i) {
      if (sites[i].address.load(std::memory_order_relaxed) == address) return &sites[i];
    }
    return nullptr;
  }

  /// One of the two would change bytes that the other one relies on.
  bool Disturbs(const Site& site) const {
    const auto changes = [](const Site& a, const Site& b) {
      return a.code() < b.code() + b.original_bytes && b.code() < a.code() + a.patched_bytes;
    };
    const int count = site_count.load(std::memory_order_relaxed);
    for (int i = 0; i < count; ++i) {
      const Site& other = sites[i];
      if (&other == &site || other.state.load(std::memory_order_relaxed) == SiteState::kOriginal) continue;
      if (changes(site, other) || changes(other, site)) return true;
    }
    return false;
  }

  Site* FindOrAdd(const RegionImage& image) {
    if (Site* site = Find(image.patch_site())) return site;
    const int count = site_count.load(std::memory_order_relaxed);
    // A site that never had a trap has none to answer late: its entry is free again.
    for (int i = 0; i < count; ++i) {
      Site& site = sites[i];
      if (site.state.load(std::memory_order_relaxed) != SiteState::kOriginal || site.kind != PatchKind::kAtomicJump) {
        continue;
      }
      site.stub.store(0, std::memory_order_relaxed);
      site.address.store(image.patch_site(), std::memory_order_release);
      return &site;
    }
    if (count == kMaxSites) return nullptr;
    sites[count].address.store(image.patch_site(), std::memory_order_relaxed);
    site_count.store(count + 1, std::memory_order_release);
    return &sites[count];
  }
};

Patcher::Patcher() : impl_(std::make_unique<Impl>()) {}
Patcher::~Patcher() = default;

std::expected<std::unique_ptr<Patcher>, std::string> Patcher::Create() {
  std::unique_ptr<Patcher> patcher(new Patcher());
  patcher->impl_->can_sync = RegisterSyncCore();
  return patcher;
}

std::expected<void, Rejection> Patcher::Install(const RegionImage& image) {
  const uint64_t address = image.patch_site();
  if (image.patch_kind() == PatchKind::kTrappedJump && !impl_->can_sync) {
    return std::unexpected(NotPatchable(address, "the kernel offers no membarrier(SYNC_CORE)"));
  }
  Site* const site = impl_->FindOrAdd(image);
  if (site == nullptr) return std::unexpected(NotPatchable(address, fmt::format("{} sites are taken", kMaxSites)));
  if (site->state.load(std::memory_order_relaxed) == SiteState::kMayDiffer) {
    if (site->stub.load(std::memory_order_relaxed) == image.stub()) return {};
    return std::unexpected(NotPatchable(address, "another region is installed there"));
  }

  const std::span<const uint8_t> original = image.expected_bytes();
  const std::span<const uint8_t> patched = image.patch_bytes();
  std::copy(original.begin(), original.end(), site->original);
  site->original_bytes = original.size();
  std::copy(patched.begin(), patched.end(), site->patched);
  site->patched_bytes = patched.size();
  site->kind = image.patch_kind();
  if (impl_->Disturbs(*site)) return std::unexpected(NotPatchable(address, "a region beside it relies on its bytes"));
  if (!FindPages(site)) return std::unexpected(NotPatchable(address, "it is not mapped executable"));
  site->state.store(SiteState::kMayDiffer, std::memory_order_release);
  // From here on a forked child would put everything back.

  if (!MakeWritable(*site)) {
    const int error = errno;
    site->state.store(SiteState::kOriginal, std::memory_order_release);
    return std::unexpected(NotPatchable(address, fmt::format("mprotect: {}", strerrordesc_np(error))));
  }
  if (!std::equal(original.begin(), original.end(), site->code())) {
    RestoreProtection(*site);
    site->state.store(SiteState::kOriginal, std::memory_order_release);
    return std::unexpected(NotPatchable(address, "it has changed since it was read"));
  }
  site->displaced.store(image.displaced().begin, std::memory_order_relaxed);
  site->behind_displaced.store(image.displaced().end, std::memory_order_relaxed);
  site->stub.store(image.stub(), std::memory_order_release);  // before there can be a trap to answer
  Write(*site, site->patched);
  RestoreProtection(*site);
  if (impl_->can_sync) SyncCores();
  return {};
}

std::expected<void, Rejection> Patcher::Remove(const RegionImage& image) {
  const uint64_t address = image.patch_site();
  Site* const site = impl_->Find(address);
  if (site == nullptr || site->state.load(std::memory_order_relaxed) == SiteState::kOriginal ||
      site->stub.load(std::memory_order_relaxed) != image.stub()) {
    return {};
  }
  if (!FindPages(site)) {
    site->state.store(SiteState::kOriginal, std::memory_order_release);  // unloaded: nothing is left to restore
    return std::unexpected(NotPatchable(address, "it is not mapped executable any more"));
  }
  if (!MakeWritable(*site)) {
    return std::unexpected(NotPatchable(address, fmt::format("mprotect: {}", strerrordesc_np(errno))));
  }
  if (!std::equal(site->patched, site->patched + site->patched_bytes, site->code())) {
    RestoreProtection(*site);
    return std::unexpected(NotPatchable(address, "someone else has changed it meanwhile"));
  }
  Write(*site, site->original);
  RestoreProtection(*site);
  if (impl_->can_sync) SyncCores();
  site->state.store(SiteState::kOriginal, std::memory_order_release);
  return {};
}

// A site stays in the table when it is removed: the signal of a trap may come after that, and its stub, which runs the
// displaced instruction, is right at any time.
uint64_t Patcher::HandleTrap(uint64_t rip) const {
  const int count = impl_->site_count.load(std::memory_order_acquire);
  for (int i = 0; i < count; ++i) {
    const Site& site = impl_->sites[i];
    if (site.address.load(std::memory_order_acquire) + 1 == rip) return site.stub.load(std::memory_order_acquire);
  }
  return 0;
}

uint64_t Patcher::PlaceOf(uint64_t rip) const {
  const int count = impl_->site_count.load(std::memory_order_acquire);
  for (int i = 0; i < count; ++i) {
    const Site& site = impl_->sites[i];
    if (site.stub.load(std::memory_order_acquire) == 0) continue;
    const bool inside = rip >= site.displaced.load(std::memory_order_relaxed) &&
                        rip < site.behind_displaced.load(std::memory_order_relaxed);
    if (inside) return site.address.load(std::memory_order_relaxed);
  }
  return 0;
}

void Patcher::ShowOriginal(uint64_t address, std::span<uint8_t> code) const {
  const int count = impl_->site_count.load(std::memory_order_acquire);
  for (int i = 0; i < count; ++i) {
    const Site& site = impl_->sites[i];
    if (site.state.load(std::memory_order_acquire) == SiteState::kOriginal) continue;
    const uint64_t begin = site.address.load(std::memory_order_relaxed);
    for (size_t k = 0; k < site.patched_bytes; ++k) {
      if (begin + k >= address && begin + k < address + code.size()) code[begin + k - address] = site.original[k];
    }
  }
}

void Patcher::RestoreAll() {
  const int saved_errno = errno;
  const int count = impl_->site_count.load(std::memory_order_acquire);
  for (int i = 0; i < count; ++i) {
    Site& site = impl_->sites[i];
    if (site.state.load(std::memory_order_acquire) == SiteState::kOriginal || !MakeWritable(site)) continue;
    if (HoldsOurBytes(site)) std::memcpy(site.code(), site.original, site.patched_bytes);
    RestoreProtection(site);
    site.state.store(SiteState::kOriginal, std::memory_order_release);
  }
  errno = saved_errno;
}

}  // namespace tracelift::jit

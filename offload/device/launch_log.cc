#include "offload/device/launch_log.h"

#include <immintrin.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "jit/float_environment.h"

namespace tracelift::offload {
namespace {

constexpr uint64_t kAligned = 64;
constexpr uint64_t kScratchBytes = 1 << 20;  // of ChunkResult

constexpr uint64_t AlignedUp(uint64_t bytes) { return (bytes + kAligned - 1) & ~(kAligned - 1); }

void* Map(uint64_t at, uint64_t bytes, int flags) {
  const long mapped = syscall(SYS_mmap, at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  return mapped == -1 ? nullptr : reinterpret_cast<void*>(mapped);
}

}  // namespace

bool LaunchLog::HasRoom(uint64_t bytes) const {
  const uint64_t wanted = bytes + 2 * (kAligned + sizeof(Record)) + sizeof(jit::MachineState);
  return wanted <= most_bytes_ && used_ <= most_bytes_ - wanted;
}

uint8_t* LaunchLog::Append(const Record& record, uint64_t bytes) {
  if (!memory_) memory_ = static_cast<uint8_t*>(Map(0, most_bytes_, 0));
  const uint64_t head = AlignedUp(sizeof(Record)), all = head + AlignedUp(bytes);
  if (!memory_ || most_bytes_ - used_ < all) return nullptr;
  Record placed = record;
  placed.bytes = all;
  std::memcpy(memory_ + used_, &placed, sizeof(placed));
  used_ += all;
  return memory_ + used_ - AlignedUp(bytes);
}

uint8_t* LaunchLog::Keep(PageRange pages) { return HasRoom(pages.bytes()) ? Append({.pages = pages}, pages.bytes()) : nullptr; }

void LaunchLog::Add(jit::ChunkFunction function, const jit::MachineState& state, int64_t passes) {
  if (uint8_t* kept = Append({.pages = {}, .function = function, .passes = passes}, sizeof(state))) std::memcpy(kept, &state, sizeof(state));
}

void LaunchLog::Clear() {
  if (memory_) syscall(SYS_munmap, memory_, most_bytes_);
  memory_ = nullptr;
  used_ = 0;
}

template <typename Visit>
bool LaunchLog::ForEach(Visit visit) const {
  for (uint64_t at = 0; at < used_;) {
    const auto& record = *reinterpret_cast<const Record*>(memory_ + at);
    if (!visit(record, memory_ + at + AlignedUp(sizeof(Record)))) return false;
    at += record.bytes;
  }
  return true;
}

bool LaunchLog::Replay() const {
  auto* scratch = static_cast<std::byte*>(Map(0, kScratchBytes, 0));
  const bool mapped = scratch && ForEach([](const Record& record, const uint8_t*) {
    return record.function || Map(record.pages.begin, record.pages.bytes(), MAP_FIXED) != nullptr;
  });
  return mapped && ForEach([&](const Record& record, const uint8_t* kept) {
    if (!record.function) return std::memcpy(reinterpret_cast<void*>(record.pages.begin), kept, record.pages.bytes()), true;
    const auto& state = *reinterpret_cast<const jit::MachineState*>(kept);
    jit::ChunkResult result{.scratch = scratch, .scratch_bytes = kScratchBytes};
    _mm_setcsr(jit::MxcsrFor(jit::FloatControlOf(state.mxcsr)));
    record.function(&state, nullptr, 0, record.passes, &result);
    return result.flags == 0;
  });
}

}  // namespace tracelift::offload

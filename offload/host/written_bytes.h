// Copies of the bytes that a slice writes: to undo it, and to compare two ways of computing it.
//
// A WritePlan lists the bytes as streams: what each pass of the loop writes, a fixed step further on than the pass
// before. Passes are independent, so different threads may save different passes, each just before it runs them: the
// bytes are in that core's cache then. Memory is mapped by the kernel's own call: usable on the program's thread in the
// middle of anything, its allocator included. Nothing but the planned bytes is ever put back: what lies between them
// may belong to other threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "jit/footprint.h"

namespace tracelift::offload {

/// In each pass p = phase + q * phases: for all i[k] < dims[k].trip, the `run` bytes at base + q * step + sum(i[k] *
/// dims[k].stride).
struct WriteStream {
  struct Dim {
    uint64_t stride = 0;
    uint64_t trip = 1;
  };
  uint64_t base = 0;
  int64_t step = 0;
  int64_t phase = 0, phases = 1;
  uint64_t run = 0;
  std::array<Dim, jit::kMaxLoops> dims{};
  int dim_count = 0;
  bool exact = true;      // false: `run` may cover bytes of other passes
  uint8_t float_bits = 0;  // jit::Access
  uint64_t pass_bytes = 0;
  uint64_t offset = 0;    // of its first pass in the copy
};

class WritePlan {
 public:
  /// Of `passes` passes; false when there are more streams than fit.
  bool Make(const jit::Footprint& footprint, int64_t passes);

  int64_t passes() const { return passes_; }
  uint64_t bytes() const { return bytes_; }
  /// Passes may be saved one by one; otherwise all must be saved before any runs.
  bool separable() const { return separable_; }
  std::span<const WriteStream> streams() const { return {streams_.data(), static_cast<size_t>(count_)}; }

 private:
  static constexpr int kMostStreams = 48;
  bool Add(const WriteStream& stream);

  std::array<WriteStream, kMostStreams> streams_;
  int count_ = 0;
  int64_t passes_ = 0;
  uint64_t bytes_ = 0;
  bool separable_ = true;
};

/// Two results of relaxed math are close when they differ, relative to the largest float beside them, by at most this.
constexpr double ClosenessOf(uint8_t float_bits) { return float_bits == 32 ? 0x1p-10 : 0x1p-30; }

/// How far `count` floats of `float_bits` at `a` are from those at `b`, relative to the largest of them; infinite where only one is
/// NaN or infinite. 0 when all bytes are the same.
double DistanceOf(const uint8_t* a, const uint8_t* b, uint64_t count, uint8_t float_bits);

/// What memory [begin, begin + bytes.size()) of the program is to hold.
struct MemoryImage {
  uint64_t begin = 0;
  std::span<const uint8_t> bytes;
};

/// Every byte that the first `count` passes write lies in one of these.
bool LieIn(const WritePlan& plan, std::span<const jit::ByteRange> ranges, int64_t count);
/// Copies what `count` passes from `first` on write from images of the memory they write to, as far as there are any.
void CopyWritten(const WritePlan& plan, std::span<const MemoryImage> images, int64_t first, int64_t count);

class WriteCopy {
 public:
  /// Room for all bytes of the plan; false when no memory was to be had.
  bool Reserve(const WritePlan& plan) { return Reserve(plan.bytes()); }
  bool Reserve(size_t bytes);
  /// Gives the memory back.
  void Release();
  uint8_t* memory() const { return memory_; }
  size_t capacity() const { return capacity_; }
  /// Copies what `count` passes from `first` on write; `origin` is the first pass that the copy has room for. Many
  /// threads may save different passes.
  void Save(const WritePlan& plan, int64_t origin, int64_t first, int64_t count) const;
  /// Puts the bytes of these passes back.
  void Restore(const WritePlan& plan, int64_t origin, int64_t first, int64_t count) const;
  /// True when the program's bytes equal the copy; else *where is the first address found that differs.
  bool Equals(const WritePlan& plan, uint64_t* where) const;
  /// The same, but floats need only be close; *distance becomes at least that of the farthest.
  bool IsClose(const WritePlan& plan, uint64_t* where, double* distance) const;

 private:
  uint8_t* memory_ = nullptr;
  size_t capacity_ = 0;
};

}  // namespace tracelift::offload

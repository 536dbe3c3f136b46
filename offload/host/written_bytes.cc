#include "offload/host/written_bytes.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace tracelift::offload {
namespace {

// Larger copies are not worth their time; the entry is then declined.
constexpr size_t kLargestCopy = size_t{256} << 20;

// Inner loops whose bytes adjoin or overlap become one run, the others stay dimensions.
WriteStream StreamOf(const jit::AccessForm& form, const jit::Footprint& footprint) {
  WriteStream stream{.base = form.base,
                     .step = form.stride[0],
                     .phase = form.phase,
                     .phases = footprint.phases,
                     .run = form.bytes + form.slack,
                     .exact = form.slack == 0,
                     .float_bits = form.float_bits};
  std::array<WriteStream::Dim, jit::kMaxLoops> dims;
  int count = 0;
  for (int k = 1; k < footprint.loop_count; ++k) {
    const int64_t stride = form.stride[static_cast<size_t>(k)];
    const auto trip = static_cast<uint64_t>(std::max<int64_t>(1, footprint.TripOf(form, k)));
    if (stride == 0 || trip == 1) continue;
    const uint64_t length = stride < 0 ? uint64_t{0} - static_cast<uint64_t>(stride) : static_cast<uint64_t>(stride);
    if (stride < 0) stream.base -= length * (trip - 1);
    int at = count++;  // in order of their strides
    for (; at > 0 && dims[static_cast<size_t>(at - 1)].stride > length; --at) {
      dims[static_cast<size_t>(at)] = dims[static_cast<size_t>(at - 1)];
    }
    dims[static_cast<size_t>(at)] = {length, trip};
  }
  for (int k = 0; k < count; ++k) {
    const WriteStream::Dim& dim = dims[static_cast<size_t>(k)];
    if (stream.dim_count == 0 && dim.stride <= stream.run) {
      stream.run += dim.stride * (dim.trip - 1);
    } else {
      stream.dims[static_cast<size_t>(stream.dim_count++)] = dim;
    }
  }
  return stream;
}

bool SameShape(const WriteStream& a, const WriteStream& b) {
  if (a.step != b.step || a.phase != b.phase || a.dim_count != b.dim_count || !a.exact || !b.exact) return false;
  if (a.float_bits != b.float_bits) return false;
  return std::equal(a.dims.begin(), a.dims.begin() + a.dim_count, b.dims.begin(),
                    [](const auto& x, const auto& y) { return x.stride == y.stride && x.trip == y.trip; });
}

// The runs must not grow over what the next pass or the next run of the same pass writes.
bool FitsItsSteps(const WriteStream& stream, uint64_t run) {
  const uint64_t step = stream.step < 0 ? uint64_t{0} - static_cast<uint64_t>(stream.step) : static_cast<uint64_t>(stream.step);
  return run <= step && (stream.dim_count == 0 || run <= stream.dims[0].stride);
}

// How many of the passes before `pass` write the stream.
int64_t StepsBefore(const WriteStream& stream, int64_t pass) {
  return pass <= stream.phase ? 0 : (pass - stream.phase + stream.phases - 1) / stream.phases;
}

// Equal runs at equal distances; in the copy one follows the other.
struct Runs {
  uint64_t at = 0, offset = 0, size = 0;  // of the first: address, place in the copy
  uint64_t count = 1, stride = 0;
};

template <size_t kSize>
void CopyNumbers(uint8_t* to, uint64_t to_stride, const uint8_t* from, uint64_t from_stride, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, kSize);
}

void CopyRuns(uint8_t* to, uint64_t to_stride, const uint8_t* from, uint64_t from_stride, uint64_t size,
              uint64_t count) {
  if (size == 8) return CopyNumbers<8>(to, to_stride, from, from_stride, count);  // most short runs are one number
  if (size == 4) return CopyNumbers<4>(to, to_stride, from, from_stride, count);
  for (uint64_t i = 0; i < count; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, size);
}

template <typename Function>
void ForEachRuns(const WriteStream& stream, int64_t origin, int64_t first, int64_t count, Function function) {
  const int64_t begin = StepsBefore(stream, first), end = StepsBefore(stream, first + count);
  if (begin == end) return;
  uint64_t offset = stream.offset + static_cast<uint64_t>(begin - StepsBefore(stream, origin)) * stream.pass_bytes;
  const auto step = static_cast<uint64_t>(stream.step), steps = static_cast<uint64_t>(end - begin);
  uint64_t pass_at = stream.base + static_cast<uint64_t>(begin) * step;
  if (stream.dim_count == 0) {
    if (step == stream.run) return function(Runs{.at = pass_at, .offset = offset, .size = stream.run * steps});
    return function(Runs{.at = pass_at, .offset = offset, .size = stream.run, .count = steps, .stride = step});
  }
  const auto [stride, trip] = stream.dims[0];
  for (uint64_t i = 0; i < steps; ++i, pass_at += step) {
    std::array<uint64_t, jit::kMaxLoops> index{};
    uint64_t at = pass_at;
    for (;;) {
      function(Runs{.at = at, .offset = offset, .size = stream.run, .count = trip, .stride = stride});
      offset += stream.run * trip;
      int k = 1;
      for (; k < stream.dim_count; ++k) {
        const auto dim = static_cast<size_t>(k);
        at += stream.dims[dim].stride;
        if (++index[dim] < stream.dims[dim].trip) break;
        at -= stream.dims[dim].stride * stream.dims[dim].trip;
        index[dim] = 0;
      }
      if (k >= stream.dim_count) break;
    }
  }
}

}  // namespace

// Fields of one structure, or the copies of an unrolled loop, are one stream.
bool WritePlan::Add(const WriteStream& stream) {
  for (int i = 0; i < count_; ++i) {
    WriteStream& other = streams_[static_cast<size_t>(i)];
    if (!SameShape(stream, other)) continue;
    const uint64_t begin = std::min(stream.base, other.base);
    const uint64_t run = std::max(stream.base + stream.run, other.base + other.run) - begin;
    const bool adjoin = run <= stream.run + other.run;
    if (!adjoin || (run != other.run && !FitsItsSteps(other, run))) continue;
    other.base = begin;
    other.run = run;
    return true;
  }
  if (count_ == kMostStreams) return false;
  streams_[static_cast<size_t>(count_++)] = stream;
  return true;
}

bool WritePlan::Make(const jit::Footprint& footprint, int64_t passes) {
  count_ = 0;
  passes_ = passes;
  bytes_ = 0;
  separable_ = true;
  for (const jit::AccessForm& form : footprint.all()) {
    if (!form.write || form.access >= jit::kSlotBase) continue;  // slots are part of the machine state
    if (!Add(StreamOf(form, footprint))) return false;
  }
  for (int i = 0; i < count_; ++i) {
    WriteStream& stream = streams_[static_cast<size_t>(i)];
    stream.pass_bytes = stream.run;
    for (int k = 0; k < stream.dim_count; ++k) {
      if (__builtin_mul_overflow(stream.pass_bytes, stream.dims[static_cast<size_t>(k)].trip, &stream.pass_bytes)) return false;
    }
    stream.offset = bytes_;
    uint64_t size = 0;
    const auto steps = static_cast<uint64_t>((passes + stream.phases - 1) / stream.phases);
    if (__builtin_mul_overflow(stream.pass_bytes, steps, &size)) return false;
    if (__builtin_add_overflow(bytes_, size, &bytes_)) return false;
    separable_ &= stream.exact;
  }
  return true;
}

bool WriteCopy::Reserve(size_t bytes) {
  if (bytes <= capacity_) return true;
  if (bytes > kLargestCopy) return false;
  const size_t size = (bytes + bytes / 4 + 0xffff) & ~size_t{0xffff};
  const long mapped = syscall(SYS_mmap, nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == -1) return false;
  Release();
  memory_ = reinterpret_cast<uint8_t*>(mapped);
  capacity_ = size;
  return true;
}

void WriteCopy::Release() {
  if (memory_) syscall(SYS_munmap, memory_, capacity_);
  memory_ = nullptr;
  capacity_ = 0;
}

void WriteCopy::Save(const WritePlan& plan, int64_t origin, int64_t first, int64_t count) const {
  for (const WriteStream& stream : plan.streams()) {
    ForEachRuns(stream, origin, first, count, [this](const Runs& runs) {
      CopyRuns(memory_ + runs.offset, runs.size, reinterpret_cast<const uint8_t*>(runs.at), runs.stride, runs.size,
               runs.count);
    });
  }
}

void WriteCopy::Restore(const WritePlan& plan, int64_t origin, int64_t first, int64_t count) const {
  for (const WriteStream& stream : plan.streams()) {
    ForEachRuns(stream, origin, first, count, [this](const Runs& runs) {
      CopyRuns(reinterpret_cast<uint8_t*>(runs.at), runs.stride, memory_ + runs.offset, runs.size, runs.size,
               runs.count);
    });
  }
}

bool WriteCopy::Equals(const WritePlan& plan, uint64_t* where) const {
  bool equal = true;
  for (const WriteStream& stream : plan.streams()) {
    ForEachRuns(stream, 0, 0, plan.passes(), [&](const Runs& runs) {
      for (uint64_t run = 0; run < runs.count && equal; ++run) {
        const uint64_t at = runs.at + run * runs.stride, offset = runs.offset + run * runs.size;
        const auto* now = reinterpret_cast<const uint8_t*>(at);
        if (std::memcmp(now, memory_ + offset, runs.size) == 0) continue;
        uint64_t i = 0;
        while (now[i] == memory_[offset + i]) ++i;
        *where = at + i;
        equal = false;
      }
    });
  }
  return equal;
}

namespace {

/// The bytes of all runs, and what lies between them.
jit::ByteRange HullOf(const Runs& runs) {
  const uint64_t last = runs.at + (runs.count - 1) * runs.stride;
  return {std::min(runs.at, last), std::max(runs.at, last) + runs.size, true};
}

}  // namespace

bool LieIn(const WritePlan& plan, std::span<const jit::ByteRange> ranges, int64_t count) {
  bool all = true;
  for (const WriteStream& stream : plan.streams()) {
    ForEachRuns(stream, 0, 0, count, [&](const Runs& runs) {
      const jit::ByteRange hull = HullOf(runs);
      all = all && std::ranges::any_of(ranges, [&](const jit::ByteRange& range) { return range.begin <= hull.begin && hull.end <= range.end; });
    });
  }
  return all;
}

void CopyWritten(const WritePlan& plan, std::span<const MemoryImage> images, int64_t first, int64_t count) {
  if (images.empty()) return;
  for (const WriteStream& stream : plan.streams()) {
    ForEachRuns(stream, 0, first, count, [&](const Runs& runs) {
      const jit::ByteRange hull = HullOf(runs);
      const auto holds = [&](const MemoryImage& image) { return hull.begin >= image.begin && hull.end - image.begin <= image.bytes.size(); };
      const auto image = std::ranges::find_if(images, holds);
      if (image == images.end()) return;
      const uint8_t* from = image->bytes.data() + (runs.at - image->begin);
      CopyRuns(reinterpret_cast<uint8_t*>(runs.at), runs.stride, from, runs.stride, runs.size, runs.count);
    });
  }
}

namespace {

/// Floats of one kind seen side by side.
struct Spread {
  double largest = 0, farthest = 0;

  template <typename Float>
  void Add(const uint8_t* a, const uint8_t* b, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      Float x, y;
      std::memcpy(&x, a + i * sizeof(Float), sizeof(Float));
      std::memcpy(&y, b + i * sizeof(Float), sizeof(Float));
      if (std::isfinite(x)) largest = std::max(largest, std::abs(static_cast<double>(x)));
      if (std::memcmp(&x, &y, sizeof(Float)) == 0 || x == y) continue;
      const bool comparable = std::isfinite(x) && std::isfinite(y);
      farthest = std::max(farthest, comparable ? std::abs(static_cast<double>(x) - static_cast<double>(y)) : std::numeric_limits<double>::infinity());
    }
  }
  void Add(const uint8_t* a, const uint8_t* b, uint64_t count, uint8_t float_bits) {
    float_bits == 32 ? Add<float>(a, b, count) : Add<double>(a, b, count);
  }
  double Distance() const { return farthest == 0 ? 0 : farthest / largest; }
};

}  // namespace

double DistanceOf(const uint8_t* a, const uint8_t* b, uint64_t count, uint8_t float_bits) {
  Spread spread;
  spread.Add(a, b, count, float_bits);
  return spread.Distance();
}

bool WriteCopy::IsClose(const WritePlan& plan, uint64_t* where, double* distance) const {
  for (const WriteStream& stream : plan.streams()) {
    Spread spread;
    bool equal = true;
    const uint64_t float_bytes = stream.float_bits / 8;
    ForEachRuns(stream, 0, 0, plan.passes(), [&](const Runs& runs) {
      for (uint64_t run = 0; run < runs.count; ++run) {
        const auto* now = reinterpret_cast<const uint8_t*>(runs.at + run * runs.stride);
        const uint8_t* kept = memory_ + runs.offset + run * runs.size;
        if (float_bytes != 0 && runs.size % float_bytes == 0) {
          spread.Add(now, kept, runs.size / float_bytes, stream.float_bits);
        } else if (std::memcmp(now, kept, runs.size) != 0) {
          equal = false;
        }
      }
    });
    *distance = std::max(*distance, spread.Distance());
    if (equal && !(spread.Distance() > ClosenessOf(stream.float_bits))) continue;
    *where = stream.base;
    return false;
  }
  return true;
}

}  // namespace tracelift::offload

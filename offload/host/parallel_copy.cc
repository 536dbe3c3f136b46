#include "offload/host/parallel_copy.h"

#include <algorithm>
#include <cstring>

namespace tracelift::offload {
namespace {

constexpr uint64_t kPartBytes = 128 << 10;
constexpr uint64_t kWorthSharing = 1 << 20;

struct Copy {
  uint8_t* to;
  const uint8_t* from;
  uint64_t bytes;
};

struct Written {
  const WritePlan& plan;
  std::span<const MemoryImage> images;
};

// A job of the pool whose passes are parts of a copy.
void CopyParts(const jit::MachineState* in, jit::MachineState*, int64_t first, int64_t count, jit::ChunkResult*) {
  const Copy& copy = *reinterpret_cast<const Copy*>(in);
  const uint64_t begin = static_cast<uint64_t>(first) * kPartBytes, end = std::min(copy.bytes, begin + static_cast<uint64_t>(count) * kPartBytes);
  std::memcpy(copy.to + begin, copy.from + begin, end - begin);
}

}  // namespace

void CopyTogether(WorkerPool& pool, void* to, const void* from, uint64_t bytes) {
  const Copy copy{static_cast<uint8_t*>(to), static_cast<const uint8_t*>(from), bytes};
  WorkerPool::Job job;
  job.function = &CopyParts;
  job.in = reinterpret_cast<const jit::MachineState*>(&copy);
  job.passes = static_cast<int64_t>((bytes + kPartBytes - 1) / kPartBytes);
  job.chunk_passes = pool.ChunkPasses(job.passes, 1, job.passes);
  WorkerPool::Outcome outcome;
  if (bytes < kWorthSharing || !pool.Run(job, &outcome)) std::memcpy(to, from, bytes);
}

void CopyWrittenTogether(WorkerPool& pool, const WritePlan& plan, std::span<const MemoryImage> images, int64_t count) {
  const Written written{plan, images};
  WorkerPool::Job job;
  job.function = [](const jit::MachineState* in, jit::MachineState*, int64_t first, int64_t passes, jit::ChunkResult*) {
    const Written& all = *reinterpret_cast<const Written*>(in);
    CopyWritten(all.plan, all.images, first, passes);
  };
  job.in = reinterpret_cast<const jit::MachineState*>(&written);
  job.passes = count;
  job.chunk_passes = pool.ChunkPasses(count, 1, count);
  WorkerPool::Outcome outcome;
  if (plan.bytes() < kWorthSharing || !pool.Run(job, &outcome)) CopyWritten(plan, images, 0, count);
}

}  // namespace tracelift::offload

// Copies of megabytes by all cores: one alone does not fill the way to a device.
#pragma once

#include <cstdint>
#include <span>

#include "offload/host/worker_pool.h"
#include "offload/host/written_bytes.h"

namespace tracelift::offload {

/// As memcpy; by the calling thread alone where the pool is taken.
void CopyTogether(WorkerPool& pool, void* to, const void* from, uint64_t bytes);

/// As CopyWritten, of the first `count` passes.
void CopyWrittenTogether(WorkerPool& pool, const WritePlan& plan, std::span<const MemoryImage> images, int64_t count);

}  // namespace tracelift::offload

// Is memory there? Asked of the kernel right before a region runs elsewhere, on the program's own thread.
//
// A variant must not touch what the original might never reach: so every byte of a footprint has to be mapped with the
// needed permission. Rule: these functions make raw system calls only; no allocation, no locks, no libc, errno is
// untouched. The answer is true of the moment: a thread that unmaps concurrently races with the original code as well.
#pragma once

#include <span>

#include "jit/footprint.h"

namespace tracelift::offload {

/// Opens the kernel's map of this process ahead of use; false when there is none (no /proc). Optional: RangesUsable
/// does so when needed. Called from our own thread, it keeps even the brief use of a low descriptor number away from
/// the program's thread.
bool PrepareMemoryMap();

/// True when each range is fully mapped, readable, and writable when it is a `write`. False for parts of file mappings
/// behind the end of the file, for mappings of devices and of the kernel's own pages, and when in doubt.
/// Best with ascending ranges. Safe in forked children.
bool RangesUsable(std::span<const jit::ByteRange> ranges);

/// The same by reading /proc/thread-self/maps as text: for kernels before 6.11, and to test it on others.
bool RangesUsableFromText(std::span<const jit::ByteRange> ranges);

/// The readable memory around an address: its mapping, as far as it can be touched, and what adjoins it without a gap. Empty
/// when the address cannot be read, and when in doubt.
jit::ReadWindow ReadableAround(uint64_t address);
jit::ReadWindow ReadableAroundFromText(uint64_t address);

}  // namespace tracelift::offload

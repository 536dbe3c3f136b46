// Which file the code at an address comes from, by /proc/self/maps. No allocation, no C library locks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tracelift::preload {

/// The file mapped at `address`; false for anonymous memory (code of a just-in-time compiler) and unmapped addresses.
bool FileMappedAt(uint64_t address, char* path, size_t size);

/// Libraries that are never taken over (the C library, the loader, the tracer): heat in them is no reason to start.
bool IsSystemLibrary(const char* path);

}  // namespace tracelift::preload

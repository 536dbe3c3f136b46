// A region as a kernel: its passes, and iterations of inner loops, as a grid of threads that work on copies of the memory that the
// region touches, in a device's own address space.
//
// What a region touches is told apart into *memories*: ranges of the program's addresses that do not overlap, each of which is
// copied to the device as a whole. Code keeps computing with the program's addresses; in each access the address of a copy
// less that of what it is a copy of is added (KernelLaunch::distance).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "jit/machine_state.h"

namespace tracelift::jit {

inline constexpr int kMaxMemories = 48;
inline constexpr int kMaxGridDims = 3;
inline constexpr uint8_t kMostSide = 8;  // results of a thread along a dimension

enum class KernelTarget : uint8_t {
  kNone,       // code for the host only
  kReference,  // an object file for this machine's CPU, for the reference device
  kPtx,        // text for NVIDIA GPUs
};

/// Constant memory that a kernel reads at addresses that only data decide.
struct KernelTable {
  int8_t module = -1;      // `offset` counts from where this one begins (jit/module_bases.h); -1: from 0
  uint64_t offset = 0;
  uint64_t bytes = 0;
  constexpr bool operator==(const KernelTable&) const = default;
};

struct Kernel {
  KernelTarget target = KernelTarget::kNone;
  std::string architecture;          // kPtx: the least that it is for, e.g. "sm_75"
  std::vector<uint8_t> code;         // relocatable ELF object, or PTX
  std::string symbol;                // of the kernel in it
  // The memories: first those of accesses, then one for each window, then one for each table.
  std::vector<uint8_t> memory;       // by access (FootprintProgram::accesses),
  std::vector<uint8_t> alignment;    // likewise, what each of its addresses is a multiple of, as code relies on: a power of two, at most 16
  uint8_t access_memories = 0;       // how many there are of these
  std::vector<KernelTable> tables;
  // The grid has the passes and, for each dimension of Reliance::grid, as many iterations as the longest of its loops makes at most:
  // each thread does one pass, and of each loop one iteration, if it makes so many.
  uint8_t inner_dims = 0;
  // Or passes need each other: each thread does all of them in order, and of the loops of Reliance::panels one iteration. The grid
  // has one pass then, and that dimension.
  bool ordered = false;
  bool passes_last = false;          // neighbouring threads do neighbouring passes; else, iterations of the last dimension
  // Threads may do several results each, side by side: so many neighbours of the grid's second dimension from inside, and of the
  // innermost so many that lie a tile's width apart.
  uint8_t rows = 1, columns = 1;

  int memories(size_t windows) const { return access_memories + static_cast<int>(windows + tables.size()); }
};

/// What all threads of a launch get. The layout is shared with compiled kernels (jit/emit/kernel_function.cc).
struct KernelLaunch {
  uint64_t state = 0;                       // address of the MachineState at entry, in the device's memory
  uint64_t flags = 0;                       // address of a uint32_t that kFlag* are ored into,
  uint64_t partial = 0;                     // of the partial results, by index of Artifact::reductions, which are combined with
  uint64_t zero = 0;                        // always 0: what all addresses count from
  int64_t first = 0;                        // pass of the first threads
  int64_t count = 1;                        // passes of each
  int64_t extent[kMaxGridDims] = {1, 1, 1};  // of the grid: passes, then Kernel::inner_dims
  uint64_t distance[kMaxMemories] = {};     // by memory: from the program's addresses to the device's
};
static_assert(offsetof(KernelLaunch, distance) == 72);

/// Threads come in blocks, each of a tile of the grid's two innermost dimensions: neighbours share what they read of rows and columns.
/// A grid of one dimension, or of ordered passes, has tiles that are rows.
inline constexpr int64_t kBlockThreads = 256;
struct Tile {
  int64_t x = kBlockThreads, y = 1;  // x is of the innermost dimension
};
constexpr Tile TileOf(const Kernel& kernel) { return kernel.inner_dims > 0 && !kernel.ordered ? Tile{32, 8} : Tile{}; }

/// Which dimension of KernelLaunch::extent is the innermost of the grid, the next, the outermost; there are inner_dims + 1.
constexpr std::array<uint8_t, kMaxGridDims> DimsFromInside(const Kernel& kernel) {
  const uint8_t last = kernel.inner_dims;
  if (last == 0) return {0, 1, 2};
  if (kernel.passes_last) return {0, last, 1};
  return {last, static_cast<uint8_t>(last - 1), 0};
}

/// Fewer would leave much of a device idle; then each does a single result.
inline constexpr uint64_t kFewestThreads = 1 << 14;
constexpr bool ThreadsDoSeveral(const Kernel& kernel, const int64_t* extent) {
  const Tile tile = TileOf(kernel);
  const auto dims = DimsFromInside(kernel);
  const uint64_t several = uint64_t{kernel.rows} * kernel.columns;
  uint64_t results = 1;
  for (int dim = 0; dim < kMaxGridDims; ++dim) results *= static_cast<uint64_t>(extent[dim]);
  const bool has_whole_tiles = extent[dims[0]] >= tile.x * kernel.columns && (kernel.inner_dims == 0 || extent[dims[1]] >= tile.y * kernel.rows);
  return several > 1 && has_whole_tiles && results >= kFewestThreads * several;
}

/// How many blocks a grid has. Block b is tile b % n of the innermost dimension's n, the rest counts tiles of the next, and so on.
constexpr int64_t BlocksOf(const Kernel& kernel, const int64_t* extent) {
  Tile tile = TileOf(kernel);
  if (ThreadsDoSeveral(kernel, extent)) tile = {tile.x * kernel.columns, tile.y * kernel.rows};
  const auto dims = DimsFromInside(kernel);
  int64_t blocks = (extent[dims[0]] + tile.x - 1) / tile.x;
  if (kernel.inner_dims > 0) blocks *= (extent[dims[1]] + tile.y - 1) / tile.y;
  if (kernel.inner_dims > 1) blocks *= extent[dims[2]];
  return blocks;
}

/// Runs the blocks [begin, end) of a launch one after the other, on the reference device.
using ReferenceKernel = void (*)(const KernelLaunch* launch, int64_t begin, int64_t end);

}  // namespace tracelift::jit

// The ELF objects loaded in this process, as one snapshot: where their code lies, where their unwind tables are, and
// which of their bytes can never change. Rule: a snapshot does not hold the objects; after a dlclose its addresses
// may be gone, so take a new one when ModuleList::Generation has moved.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tracelift::profiler {

/// Half-open range of live addresses [begin, end).
struct MemoryRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  constexpr bool Contains(uint64_t address) const { return address >= begin && address < end; }
  constexpr bool Contains(uint64_t address, uint64_t bytes) const {
    return address >= begin && address <= end && bytes <= end - address;
  }
  constexpr bool operator==(const MemoryRange&) const = default;
};

struct Module {
  std::string path;                   // absolute file name; "[vdso]" for the kernel's
  bool is_program = false;            // the main program, not a library
  uint64_t load_bias = 0;             // live address - ELF virtual address
  MemoryRange extent;                 // from the first to the last loaded byte
  std::vector<MemoryRange> text;      // executable segments
  std::vector<MemoryRange> constant;  // segments loaded without write permission (text included)
  MemoryRange eh_frame_hdr;           // PT_GNU_EH_FRAME, empty when there is none

  uint64_t ToElfAddress(uint64_t live_address) const { return live_address - load_bias; }
  bool IsText(uint64_t address) const;
  bool IsConstant(uint64_t address, uint64_t bytes) const;
};

/// Thread rule: immutable after Snapshot; many threads may read.
class ModuleList {
 public:
  /// Takes the loader's lock for some microseconds, and neither allocates nor locks while it holds it. Never call it
  /// from a signal handler.
  static ModuleList Snapshot();
  /// Changes whenever an object was loaded or unloaded; compare with generation().
  static uint64_t Generation();

  ModuleList() = default;
  explicit ModuleList(std::vector<Module> modules, uint64_t generation = 0);

  /// The module one of whose segments contains the address, or null.
  const Module* Find(uint64_t address) const;
  /// The main program, or null.
  const Module* Program() const;
  const std::vector<Module>& modules() const { return modules_; }
  uint64_t generation() const { return generation_; }

 private:
  std::vector<Module> modules_;  // ascending by extent.begin
  uint64_t generation_ = 0;
};

}  // namespace tracelift::profiler

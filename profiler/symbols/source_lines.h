// Source lines of one ELF file from its DWARF debug info (in the file, or a local file found by build id).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace tracelift::profiler {

/// Opens the file at the first question. Thread rule: one thread at a time.
class SourceLines {
 public:
  explicit SourceLines(std::string path);
  ~SourceLines();
  /// "matmul.c:14", or "" when there is no debug info for the address.
  std::string Find(uint64_t elf_address);

 private:
  struct Impl;
  std::string path_;
  bool opened_ = false;
  std::unique_ptr<Impl> impl_;  // null: no debug info
};

}  // namespace tracelift::profiler

// A shared library of the system, loaded into the test: its code, its unwind table and its function symbols.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "jit/code_reader.h"

namespace tracelift::jit {

class LoadedLibrary : public CodeReader {
 public:
  /// nullopt when it cannot be loaded.
  static std::optional<LoadedLibrary> Open(const std::string& name);

  /// Reads mapped segments of the library only.
  bool Read(uint64_t address, std::span<uint8_t> out) const override;
  bool IsConstant(uint64_t address, size_t size) const override;

  uint64_t eh_frame_hdr() const { return eh_frame_hdr_; }
  /// Begin addresses in the table of .eh_frame_hdr, read by a few lines that share nothing with the code under test.
  std::vector<uint64_t> TableBegins() const;
  /// Addresses of the defined function symbols of .dynsym that have a size.
  std::vector<uint64_t> FunctionSymbols() const;

 private:
  struct Segment {
    AddressRange range;
    bool writable = false;
  };
  uint64_t base_ = 0;
  uint64_t eh_frame_hdr_ = 0;
  uint64_t dynamic_ = 0;
  std::vector<Segment> segments_;
};

}  // namespace tracelift::jit

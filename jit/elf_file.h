// Machine code and read-only data of an ELF file that is not running: a program or shared library for x86-64, stripped
// or not, at the addresses it is linked for. Nothing of it is executed or relocated.
//
// Rule: the file may be damaged or made to deceive; every offset in it is checked where it is used.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <vector>

#include "jit/code_reader.h"
#include "jit/function_code.h"

namespace tracelift::jit {

class ElfFile : public CodeReader {
 public:
  /// The error names what is wrong and, where there is one, the next step, but not the file: "damaged: it ends within
  /// its ELF header".
  static std::expected<ElfFile, std::string> Open(const std::string& path);
  static std::expected<ElfFile, std::string> FromBytes(std::vector<uint8_t> bytes);

  bool Read(uint64_t address, std::span<uint8_t> out) const override;
  /// Bytes of segments that are mapped without write permission.
  bool IsConstant(uint64_t address, size_t size) const override;
  /// Calls of memset, memcpy and memmove by name, as the dynamic linker would bind them.
  KnownCallee CalleeAt(uint64_t address) const override;
  KnownCallee CalleeThrough(uint64_t address) const override;

  /// All functions that the unwind tables name and that lie in executable segments, without the linkage tables. The
  /// error says that there are no unwind tables, or that they are damaged.
  std::expected<FunctionList, std::string> Functions() const;

 private:
  struct Segment {
    AddressRange addresses;  // what the file provides; zeros after it are left out
    uint64_t offset = 0;
    bool writable = false;
    bool executable = false;
  };

  ElfFile() = default;
  const Segment* SegmentOf(uint64_t address, uint64_t size) const;
  template <typename T>
  bool ReadObject(uint64_t address, T* object) const;
  std::expected<void, std::string> ParseHeaders();
  void FindFrames(uint64_t section_offset, unsigned count, unsigned names);
  void BindLinkage(uint64_t dynamic);
  void BindRelocations(uint64_t table, uint64_t bytes, uint64_t symbols, uint64_t strings);
  bool IsLinkageTable(AddressRange range) const;

  std::vector<uint8_t> bytes_;
  std::vector<Segment> segments_;
  uint64_t eh_frame_hdr_ = 0;
  AddressRange eh_frame_;                    // from the section headers, where there are some
  std::map<uint64_t, KnownCallee> linkage_;  // by the address of the pointer
};

}  // namespace tracelift::jit

// Machine code and read-only data of an ELF file that is not running: a program or shared library for x86-64, stripped
// or not, at the addresses it is linked for. Nothing of it is executed or relocated.
//
// Rule: the file may be damaged or made to deceive; every offset in it is checked where it is used.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jit/code_reader.h"
#include "jit/function_code.h"

namespace tracelift::jit {

class ElfDynamic;  // jit/code/elf_dynamic.h

/// What an entry of a linkage table asks for: a function by name, with the version the file was linked against ("":
/// whichever is the default), or, with `resolver`, whatever this function of the same file answers (IRELATIVE).
struct ElfFunctionName {
  std::string name, version;
  uint64_t resolver = 0;
};

/// A function that a file offers. An indirect one (STT_GNU_IFUNC) is not the function itself but a resolver that answers
/// which one it is on the processor at hand.
struct ElfFunction {
  uint64_t address = 0;
  bool is_indirect = false;
};

/// What the file wants of the dynamic linker.
struct ElfNeeds {
  std::vector<std::string> libraries;  // in the order of the file
  std::string rpath, runpath;          // where to look for them: lists separated by colons
  bool looks_in_itself_first = false;  // DT_SYMBOLIC
  bool is_program = false;             // not a shared library
};

class ElfFile : public CodeReader {
 public:
  ElfFile(ElfFile&&) noexcept;
  ElfFile& operator=(ElfFile&&) noexcept;
  ~ElfFile() override;

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
  /// Only functions of this file: with others it is bound in an ElfProgram.
  std::optional<uint64_t> LinkedFunction(uint64_t entry) const override;
  std::optional<AddressRange> FunctionAround(uint64_t address) const override;
  /// By the names that the standard libraries have for such functions.
  bool NeverReturns(uint64_t address) const override;

  const ElfNeeds& needs() const;
  /// The entry of a linkage table that the stub at this address jumps through, nullopt when it is no stub.
  std::optional<uint64_t> EntryBehind(uint64_t stub) const;
  /// What the entry of a linkage table at this address asks for, nullopt when it is none.
  std::optional<ElfFunctionName> LinkageAt(uint64_t entry) const;
  /// The function that others are bound to by this name.
  std::optional<ElfFunction> ExportedFunction(const ElfFunctionName& name) const;
  /// From the first to the last byte of its segments.
  AddressRange extent() const;

  /// All functions that the unwind tables name and that lie in executable segments, without the linkage tables. The
  /// error says that there are no unwind tables, or that they are damaged.
  std::expected<FunctionList, std::string> Functions() const;

 private:
  struct Segment {
    AddressRange addresses;  // what the file provides; zeros after it are left out
    uint64_t end = 0;        // of those zeros
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
  bool IsLinkageTable(AddressRange range) const;

  std::vector<uint8_t> bytes_;
  std::vector<Segment> segments_;
  uint64_t eh_frame_hdr_ = 0;
  AddressRange eh_frame_;                    // from the section headers, where there are some
  std::vector<AddressRange> without_index_;  // functions, where .eh_frame has no index; ascending
  std::unique_ptr<ElfDynamic> dynamic_;
};

}  // namespace tracelift::jit

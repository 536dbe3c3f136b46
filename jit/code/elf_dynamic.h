// What the dynamic linker needs to know of an ELF file: the libraries it needs, the functions it offers, and the pointers
// of its linkage tables. Read from the loaded image (DT_ entries), so stripped files have it too. Private to jit/code.
//
// Sources: System V ABI, chapter 5 (symbol lookup, DT_HASH); Drepper, How To Write Shared Libraries (DT_GNU_HASH,
// versions); glibc 2.36, elf/dl-lookup.c, for what happens with versions.
#pragma once

#include <elf.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jit/code_reader.h"
#include "jit/elf_file.h"

namespace tracelift::jit {

/// Rule: every address in it comes from the file and leads nowhere until a read through the reader succeeds.
class ElfDynamic {
 public:
  ElfDynamic() = default;  // of a file that is linked statically
  ElfDynamic(const CodeReader& reader, uint64_t dynamic);

  const ElfNeeds& needs() const { return needs_; }
  void MarkProgram() { needs_.is_program = true; }
  /// What the linkage table's entry at this address is to be bound to.
  std::optional<ElfFunctionName> NameAt(const CodeReader& reader, uint64_t entry) const;
  /// The function of this name that the file offers to others.
  std::optional<ElfFunction> Find(const CodeReader& reader, const ElfFunctionName& name) const;

 private:
  struct Entry {
    uint64_t address = 0;
    uint32_t symbol = 0;     // index, or
    uint64_t resolver = 0;   // of R_X86_64_IRELATIVE
  };
  void ReadEntries(const CodeReader& reader, uint64_t table, uint64_t bytes);
  void ReadVersions(const CodeReader& reader, uint64_t needs, uint64_t definitions);
  std::string TextAt(const CodeReader& reader, uint64_t offset) const;
  bool IsNamed(const CodeReader& reader, const Elf64_Sym& symbol, std::string_view name) const;
  std::optional<ElfFunction> Accept(const CodeReader& reader, uint32_t index, const ElfFunctionName& name) const;
  std::optional<ElfFunction> FindByGnuHash(const CodeReader& reader, const ElfFunctionName& name) const;
  std::optional<ElfFunction> FindByHash(const CodeReader& reader, const ElfFunctionName& name) const;

  ElfNeeds needs_;
  uint64_t symbols_ = 0, strings_ = 0, hash_ = 0, gnu_hash_ = 0, symbol_versions_ = 0;
  std::vector<Entry> entries_;                         // ascending by address
  std::vector<std::pair<uint16_t, std::string>> versions_;  // by index in the symbols' version table
};

}  // namespace tracelift::jit

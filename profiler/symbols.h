// Names for addresses: which function of an ELF file an address lies in, and which source line it came from.
// Works on files, not on live memory: addresses are ELF virtual addresses (Module::ToElfAddress). Damaged or missing
// files give errors or empty answers, never a crash; no network is used to find debug info.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tracelift::profiler {

/// The function symbols of one file, from .symtab and .dynsym.
class SymbolTable {
 public:
  struct Match {
    std::string name;     // as in the file, mangled
    uint64_t offset = 0;  // from the symbol's start
  };

  /// Errors name the file and what is wrong with it. A stripped file is an empty table, not an error.
  static std::expected<SymbolTable, std::string> Read(const std::string& path);

  std::optional<Match> Find(uint64_t elf_address) const;
  size_t size() const { return symbols_.size(); }

 private:
  struct Symbol {
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t reach = 0;  // largest end of this and all earlier symbols: where a search backwards may stop
    std::string name;
  };
  std::vector<Symbol> symbols_;  // ascending by begin
};

/// "std::vector<int>::push_back(int&&)" for a mangled C++ name, anything else unchanged.
std::string Demangle(const std::string& name);

struct CodeName {
  std::string symbol;  // demangled, "dgemm_+0x1a4"; "dgemm_" at its first byte; "" when unknown
  std::string source;  // "matmul.c:14", or ""
};

/// Looks up addresses and keeps what it read. Thread rule: one thread at a time.
class Symbolizer {
 public:
  Symbolizer();
  ~Symbolizer();
  Symbolizer(Symbolizer&&) noexcept;
  Symbolizer& operator=(Symbolizer&&) noexcept;

  CodeName Lookup(const std::string& path, uint64_t elf_address);
  /// The function's name without an offset, or "libfoo.so+0x1234" when it has none: for lists of callers.
  std::string FunctionName(const std::string& path, uint64_t elf_address);

 private:
  struct File;
  File& Open(const std::string& path);
  std::map<std::string, std::unique_ptr<File>> files_;
};

}  // namespace tracelift::profiler

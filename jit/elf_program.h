// An ELF file together with the libraries it needs, put together as the dynamic linker would: one address space in which
// calls between files can be followed. The file itself stays at the addresses it is linked for; each library lies at a
// bias of its own. Nothing is executed or relocated.
//
// Rule: what is bound here is what ld.so binds when this file is the first to be loaded. Preloaded libraries, and the
// program around a plug-in, may bind it otherwise.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jit/code_reader.h"
#include "jit/elf_file.h"

namespace tracelift::jit {

/// Asked which function the resolver at `resolver` of the file `path` chooses on this machine; both addresses are as
/// linked. nullopt: not known, which leaves calls of the indirect function unknown.
using IndirectFunctionChoice = std::function<std::optional<uint64_t>(const std::string& path, uint64_t resolver)>;

/// Thread rule: constant after Open; `choose` must be safe to call from any thread.
class ElfProgram : public CodeReader {
 public:
  /// Errors are those of ElfFile::Open for `path`. Libraries that are not found or damaged are left out.
  static std::expected<ElfProgram, std::string> Open(const std::string& path, IndirectFunctionChoice choose);
  ElfProgram(ElfProgram&&) noexcept;
  ElfProgram& operator=(ElfProgram&&) noexcept;
  ~ElfProgram() override;

  bool Read(uint64_t address, std::span<uint8_t> out) const override;
  bool IsConstant(uint64_t address, size_t size) const override;
  KnownCallee CalleeAt(uint64_t address) const override;
  KnownCallee CalleeThrough(uint64_t address) const override;
  std::optional<uint64_t> LinkedFunction(uint64_t entry) const override;
  std::optional<AddressRange> FunctionAround(uint64_t address) const override;
  /// By name, or because no way through the function's code leads to a return.
  bool NeverReturns(uint64_t address) const override;

  const ElfFile& file() const { return parts_.front().file; }
  /// Paths of the libraries put beside it, in the order in which symbols are looked up.
  std::vector<std::string> Libraries() const;
  /// The file that an address belongs to, and the address there as linked; an empty path when it belongs to none.
  struct Place {
    std::string path;
    uint64_t address = 0;
  };
  Place PlaceOf(uint64_t address) const;
  /// Names of libraries that are needed, but were not found or could not be read.
  const std::vector<std::string>& missing() const { return missing_; }

 private:
  struct Part {
    std::string path;
    ElfFile file;
    uint64_t bias = 0;
    AddressRange extent;  // bias included
  };

  ElfProgram();
  void AddLibraries();
  const Part* PartAt(uint64_t address) const;
  bool NeverReturns(uint64_t address, int depth) const;  // with Findings::endings locked
  std::optional<uint64_t> Choose(const Part& part, uint64_t resolver) const;
  std::optional<uint64_t> Bind(const Part& part, const ElfFunctionName& name) const;

  std::vector<Part> parts_;                // the file, then libraries breadth first; libraries ascending by extent
  std::vector<std::string> missing_;
  IndirectFunctionChoice choose_;
  struct Findings;  // what was asked before; guards itself
  std::unique_ptr<Findings> findings_;
};

}  // namespace tracelift::jit

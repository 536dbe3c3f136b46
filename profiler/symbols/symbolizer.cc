#include <fmt/format.h>

#include "profiler/symbols.h"
#include "profiler/symbols/source_lines.h"

namespace tracelift::profiler {

struct Symbolizer::File {
  explicit File(const std::string& path) : lines(path) {
    if (auto read = SymbolTable::Read(path)) symbols = std::move(*read);
  }
  SymbolTable symbols;  // empty when the file cannot be read: names are a service, not a condition
  SourceLines lines;
};

Symbolizer::Symbolizer() = default;
Symbolizer::~Symbolizer() = default;
Symbolizer::Symbolizer(Symbolizer&&) noexcept = default;
Symbolizer& Symbolizer::operator=(Symbolizer&&) noexcept = default;

Symbolizer::File& Symbolizer::Open(const std::string& path) {
  std::unique_ptr<File>& file = files_[path];
  if (file == nullptr) file = std::make_unique<File>(path);
  return *file;
}

CodeName Symbolizer::Lookup(const std::string& path, uint64_t elf_address) {
  File& file = Open(path);
  CodeName name;
  if (auto match = file.symbols.Find(elf_address)) {
    name.symbol = Demangle(match->name);
    if (match->offset != 0) name.symbol += fmt::format("+{:#x}", match->offset);
  }
  name.source = file.lines.Find(elf_address);
  return name;
}

std::string Symbolizer::FunctionName(const std::string& path, uint64_t elf_address) {
  if (auto match = Open(path).symbols.Find(elf_address)) return Demangle(match->name);
  size_t slash = path.rfind('/');
  return fmt::format("{}+{:#x}", slash == std::string::npos ? path : path.substr(slash + 1), elf_address);
}

}  // namespace tracelift::profiler

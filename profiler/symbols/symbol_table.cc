// Reads the function symbols of an ELF64 file. The file is read with pread, never mapped: a file that shrinks while
// we look (a rebuild during the run) gives a short read here, but SIGBUS in a mapping, and we live in someone
// else's process. Every offset and count of the file is checked against its size before use.
#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "profiler/symbols.h"

namespace tracelift::profiler {
namespace {

constexpr uint64_t kLargestSection = uint64_t{512} << 20;  // a symbol table above this is taken for damage

class ElfReader {
 public:
  explicit ElfReader(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status;
    if (fd_ >= 0 && fstat(fd_, &status) == 0 && S_ISREG(status.st_mode)) size_ = static_cast<uint64_t>(status.st_size);
  }
  ~ElfReader() {
    if (fd_ >= 0) close(fd_);
  }
  ElfReader(const ElfReader&) = delete;
  ElfReader& operator=(const ElfReader&) = delete;

  bool is_open() const { return fd_ >= 0; }

  bool Read(uint64_t offset, uint64_t bytes, void* out) const {
    if (bytes > size_ || offset > size_ - bytes) return false;
    for (auto* at = static_cast<char*>(out); bytes != 0;) {
      ssize_t got = pread(fd_, at, bytes, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      at += got;
      offset += static_cast<uint64_t>(got);
      bytes -= static_cast<uint64_t>(got);
    }
    return true;
  }

  template <typename T>
  bool ReadArray(uint64_t offset, uint64_t count, std::vector<T>* out) const {
    if (count > kLargestSection / sizeof(T) || count * sizeof(T) > size_) return false;
    out->resize(count);
    return Read(offset, count * sizeof(T), out->data());
  }

 private:
  int fd_;
  uint64_t size_ = 0;
};

struct RawSymbol {
  uint64_t begin, end;
  uint64_t section_end;  // a symbol without a size reaches to the next one, at most to here
  int rank;              // among names of one address: lower is the better known one
  std::string name;
};

/// Global names before weak and local ones, then names with fewer leading underscores ("malloc" before
/// "__libc_malloc").
int Rank(const Elf64_Sym& symbol, const char* name) {
  int binding = ELF64_ST_BIND(symbol.st_info);
  int rank = binding == STB_GLOBAL ? 0 : binding == STB_WEAK ? 1 : 2;
  return rank + 4 * static_cast<int>(std::min<size_t>(std::strspn(name, "_"), 8));
}

bool ReadSection(const ElfReader& file, const std::vector<Elf64_Shdr>& sections, const Elf64_Shdr& section,
                 std::vector<RawSymbol>* out) {
  if (section.sh_entsize != sizeof(Elf64_Sym) || section.sh_link >= sections.size()) return false;
  const Elf64_Shdr& string_section = sections[section.sh_link];
  std::vector<Elf64_Sym> symbols;
  std::vector<char> strings;
  if (!file.ReadArray(section.sh_offset, section.sh_size / sizeof(Elf64_Sym), &symbols) ||
      !file.ReadArray(string_section.sh_offset, string_section.sh_size, &strings)) {
    return false;
  }
  strings.push_back(0);  // so that every name ends
  for (const Elf64_Sym& symbol : symbols) {
    int type = ELF64_ST_TYPE(symbol.st_info);
    bool is_code = type == STT_FUNC || type == STT_GNU_IFUNC;
    if (symbol.st_name >= strings.size() || symbol.st_shndx == SHN_UNDEF) continue;
    uint64_t section_end = 0;
    if (symbol.st_shndx < sections.size()) {
      const Elf64_Shdr& home = sections[symbol.st_shndx];
      section_end = home.sh_addr + home.sh_size;
      // Assembly labels carry no type; those in executable sections still name code.
      if (type == STT_NOTYPE && (home.sh_flags & SHF_EXECINSTR)) is_code = true;
    }
    const char* name = strings.data() + symbol.st_name;
    if (!is_code || *name == 0) continue;
    uint64_t end = symbol.st_value + symbol.st_size;
    if (end < symbol.st_value) continue;
    out->push_back({symbol.st_value, end, section_end, Rank(symbol, name), name});
  }
  return true;
}

}  // namespace

std::expected<SymbolTable, std::string> SymbolTable::Read(const std::string& path) {
  ElfReader file(path);
  if (!file.is_open()) return std::unexpected(fmt::format("{}: {}", path, std::strerror(errno)));
  Elf64_Ehdr header;
  if (!file.Read(0, sizeof header, &header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return std::unexpected(fmt::format("{}: not an ELF file", path));
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB) {
    return std::unexpected(fmt::format("{}: not a 64-bit little-endian ELF file", path));
  }
  SymbolTable table;
  if (header.e_shoff == 0) return table;
  if (header.e_shentsize != sizeof(Elf64_Shdr)) {
    return std::unexpected(fmt::format("{}: damaged: section headers of {} bytes", path, header.e_shentsize));
  }
  uint64_t section_count = header.e_shnum;
  if (section_count == 0) {  // more than 65279 sections: the count is in the first header
    Elf64_Shdr first;
    if (!file.Read(header.e_shoff, sizeof first, &first)) {
      return std::unexpected(fmt::format("{}: damaged: section headers lie outside the file", path));
    }
    section_count = first.sh_size;
  }
  std::vector<Elf64_Shdr> sections;
  if (!file.ReadArray(header.e_shoff, section_count, &sections)) {
    return std::unexpected(fmt::format("{}: damaged: section headers lie outside the file", path));
  }
  std::vector<RawSymbol> raw;
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_SYMTAB && section.sh_type != SHT_DYNSYM) continue;
    if (!ReadSection(file, sections, section, &raw)) {
      return std::unexpected(fmt::format("{}: damaged: a symbol table lies outside the file", path));
    }
  }
  std::ranges::sort(raw, [](const RawSymbol& a, const RawSymbol& b) {
    // Of names at one address, those with a size first, then the better known.
    return std::tuple(a.begin, a.begin == a.end, a.rank, a.name.size(), std::string_view(a.name)) <
           std::tuple(b.begin, b.begin == b.end, b.rank, b.name.size(), std::string_view(b.name));
  });
  raw.erase(std::ranges::unique(raw, {}, &RawSymbol::begin).begin(), raw.end());
  uint64_t reach = 0;
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i].end == raw[i].begin) {
      raw[i].end = std::max(raw[i].begin,
                            i + 1 < raw.size() ? std::min(raw[i + 1].begin, raw[i].section_end) : raw[i].section_end);
    }
    reach = std::max(reach, raw[i].end);
    table.symbols_.push_back({raw[i].begin, raw[i].end, reach, std::move(raw[i].name)});
  }
  return table;
}

std::optional<SymbolTable::Match> SymbolTable::Find(uint64_t elf_address) const {
  auto after = std::ranges::upper_bound(symbols_, elf_address, {}, &Symbol::begin);
  while (after != symbols_.begin()) {
    const Symbol& symbol = *--after;
    if (elf_address < symbol.end) return Match{symbol.name, elf_address - symbol.begin};
    if (elf_address >= symbol.reach) break;  // no earlier symbol reaches this far
  }
  return std::nullopt;
}

std::string Demangle(const std::string& name) {
  if (!name.starts_with("_Z")) return name;
  int status = 0;
  char* demangled = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  std::string text = status == 0 && demangled != nullptr ? demangled : name;
  std::free(demangled);
  return text;
}

}  // namespace tracelift::profiler

#include "jit/code/elf_dynamic.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace tracelift::jit {
namespace {

// A damaged file must not keep us busy.
constexpr size_t kMostBytesOfText = 4096;  // mangled names of templates are long
constexpr uint32_t kMostChained = 1 << 20;
constexpr size_t kMostVersions = 4096;
constexpr uint16_t kHiddenVersion = 0x8000;  // not what an unversioned reference is bound to
constexpr uint16_t kVersionIndex = 0x7fff;

template <typename T>
bool ReadObject(const CodeReader& reader, uint64_t address, T* object) {
  return reader.Read(address, {reinterpret_cast<uint8_t*>(object), sizeof(T)});
}

uint32_t GnuHash(std::string_view name) {
  uint32_t hash = 5381;
  for (const char c : name) hash = hash * 33 + static_cast<uint8_t>(c);
  return hash;
}

uint32_t SystemVHash(std::string_view name) {
  uint32_t hash = 0;
  for (const char c : name) {
    hash = (hash << 4) + static_cast<uint8_t>(c);
    hash ^= (hash >> 24) & 0xf0;
    hash &= 0x0fffffff;
  }
  return hash;
}

}  // namespace

ElfDynamic::ElfDynamic(const CodeReader& reader, uint64_t dynamic) {
  uint64_t plt = 0, plt_bytes = 0, rela = 0, rela_bytes = 0, needs = 0, definitions = 0;
  std::vector<uint64_t> libraries;  // these and the paths are offsets in the strings, which may come last
  std::optional<uint64_t> rpath, runpath;
  Elf64_Dyn entry;
  for (uint64_t at = dynamic; ReadObject(reader, at, &entry) && entry.d_tag != DT_NULL; at += sizeof(entry)) {
    const uint64_t value = entry.d_un.d_val;
    switch (entry.d_tag) {
      case DT_SYMTAB: symbols_ = value; break;
      case DT_STRTAB: strings_ = value; break;
      case DT_HASH: hash_ = value; break;
      case DT_GNU_HASH: gnu_hash_ = value; break;
      case DT_VERSYM: symbol_versions_ = value; break;
      case DT_VERNEED: needs = value; break;
      case DT_VERDEF: definitions = value; break;
      case DT_JMPREL: plt = value; break;
      case DT_PLTRELSZ: plt_bytes = value; break;
      case DT_RELA: rela = value; break;
      case DT_RELASZ: rela_bytes = value; break;
      case DT_NEEDED: libraries.push_back(value); break;
      case DT_RPATH: rpath = value; break;
      case DT_RUNPATH: runpath = value; break;
      case DT_SYMBOLIC: needs_.looks_in_itself_first = true; break;
      case DT_FLAGS: needs_.looks_in_itself_first |= (value & DF_SYMBOLIC) != 0; break;
      case DT_FLAGS_1: needs_.is_program = (value & DF_1_PIE) != 0; break;
      default: break;
    }
  }
  for (const uint64_t library : libraries) needs_.libraries.push_back(TextAt(reader, library));
  if (rpath.has_value()) needs_.rpath = TextAt(reader, *rpath);
  if (runpath.has_value()) needs_.runpath = TextAt(reader, *runpath);
  ReadEntries(reader, plt, plt_bytes);
  ReadEntries(reader, rela, rela_bytes);
  std::ranges::stable_sort(entries_, {}, &Entry::address);
  ReadVersions(reader, needs, definitions);
}

void ElfDynamic::ReadEntries(const CodeReader& reader, uint64_t table, uint64_t bytes) {
  // A size that is wrong ends where nothing is mapped.
  Elf64_Rela relocation;
  for (uint64_t done = 0; done + sizeof(relocation) <= bytes && ReadObject(reader, table + done, &relocation);
       done += sizeof(relocation)) {
    switch (ELF64_R_TYPE(relocation.r_info)) {
      case R_X86_64_JUMP_SLOT:
      case R_X86_64_GLOB_DAT:
        entries_.push_back({.address = relocation.r_offset,
                            .symbol = static_cast<uint32_t>(ELF64_R_SYM(relocation.r_info)),
                            .resolver = 0});
        break;
      case R_X86_64_IRELATIVE:
        entries_.push_back({.address = relocation.r_offset,
                            .symbol = 0,
                            .resolver = static_cast<uint64_t>(relocation.r_addend)});
        break;
      default: break;
    }
  }
}

void ElfDynamic::ReadVersions(const CodeReader& reader, uint64_t needs, uint64_t definitions) {
  size_t steps = 0;
  Elf64_Verneed need;
  for (uint64_t at = needs; needs != 0 && ++steps < kMostVersions && ReadObject(reader, at, &need); at += need.vn_next) {
    Elf64_Vernaux version;
    uint64_t of_need = at + need.vn_aux;
    for (unsigned i = 0; i < need.vn_cnt && ++steps < kMostVersions && ReadObject(reader, of_need, &version);
         ++i, of_need += version.vna_next) {
      versions_.emplace_back(version.vna_other & kVersionIndex, TextAt(reader, version.vna_name));
    }
    if (need.vn_next == 0) break;
  }
  Elf64_Verdef definition;
  for (uint64_t at = definitions; definitions != 0 && ++steps < kMostVersions && ReadObject(reader, at, &definition);
       at += definition.vd_next) {
    Elf64_Verdaux name;  // the first is the version itself, further ones its parents
    if (ReadObject(reader, at + definition.vd_aux, &name)) {
      versions_.emplace_back(definition.vd_ndx & kVersionIndex, TextAt(reader, name.vda_name));
    }
    if (definition.vd_next == 0) break;
  }
  std::ranges::stable_sort(versions_, {}, &std::pair<uint16_t, std::string>::first);
}

std::string ElfDynamic::TextAt(const CodeReader& reader, uint64_t offset) const {
  std::string text;
  char c;
  while (text.size() < kMostBytesOfText && ReadObject(reader, strings_ + offset + text.size(), &c) && c != 0) {
    text.push_back(c);
  }
  return text;
}

bool ElfDynamic::IsNamed(const CodeReader& reader, const Elf64_Sym& symbol, std::string_view name) const {
  if (name.size() >= kMostBytesOfText) return false;
  std::array<uint8_t, kMostBytesOfText> text;
  const std::span<uint8_t> bytes(text.data(), name.size() + 1);  // its end included
  return reader.Read(strings_ + symbol.st_name, bytes) && text[name.size()] == 0 &&
         std::memcmp(text.data(), name.data(), name.size()) == 0;
}

std::optional<ElfFunctionName> ElfDynamic::NameAt(const CodeReader& reader, uint64_t address) const {
  const auto entry = std::ranges::lower_bound(entries_, address, {}, &Entry::address);
  if (entry == entries_.end() || entry->address != address) return std::nullopt;
  ElfFunctionName found;
  found.resolver = entry->resolver;
  if (found.resolver != 0) return found;
  Elf64_Sym symbol;
  if (!ReadObject(reader, symbols_ + uint64_t{entry->symbol} * sizeof(symbol), &symbol)) return std::nullopt;
  found.name = TextAt(reader, symbol.st_name);
  if (found.name.empty()) return std::nullopt;
  uint16_t index = 0;
  if (symbol_versions_ == 0 || !ReadObject(reader, symbol_versions_ + uint64_t{entry->symbol} * sizeof(index), &index)) {
    return found;
  }
  const auto version = std::ranges::lower_bound(versions_, index & kVersionIndex, {}, &std::pair<uint16_t, std::string>::first);
  // 0 is local, 1 global without a version; a definition of the file's own has one when it exports versions.
  if (index > 1 && version != versions_.end() && version->first == (index & kVersionIndex)) found.version = version->second;
  return found;
}

/// The symbol as a function to bind `name` to, if it is one. Versions as in glibc's check_match.
std::optional<ElfFunction> ElfDynamic::Accept(const CodeReader& reader, uint32_t index,
                                              const ElfFunctionName& name) const {
  Elf64_Sym symbol;
  if (!ReadObject(reader, symbols_ + uint64_t{index} * sizeof(symbol), &symbol)) return std::nullopt;
  if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx == SHN_ABS || symbol.st_value == 0) return std::nullopt;
  const unsigned binding = ELF64_ST_BIND(symbol.st_info), type = ELF64_ST_TYPE(symbol.st_info);
  if (binding == STB_LOCAL || (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)) return std::nullopt;
  if (!IsNamed(reader, symbol, name.name)) return std::nullopt;
  const ElfFunction found{.address = symbol.st_value, .is_indirect = type == STT_GNU_IFUNC};
  uint16_t version = 0;
  if (symbol_versions_ == 0 || !ReadObject(reader, symbol_versions_ + uint64_t{index} * sizeof(version), &version)) {
    return found;
  }
  if (name.version.empty()) return (version & kHiddenVersion) == 0 ? std::optional(found) : std::nullopt;
  const auto defined = std::ranges::lower_bound(versions_, version & kVersionIndex, {}, &std::pair<uint16_t, std::string>::first);
  const bool same = defined != versions_.end() && defined->first == (version & kVersionIndex) && defined->second == name.version;
  // What a file without versions of its own defines fits any.
  return same || (version & kVersionIndex) <= 1 ? std::optional(found) : std::nullopt;
}

std::optional<ElfFunction> ElfDynamic::FindByGnuHash(const CodeReader& reader, const ElfFunctionName& name) const {
  struct {
    uint32_t buckets, first_symbol, bloom_words, bloom_shift;
  } header;
  if (!ReadObject(reader, gnu_hash_, &header) || header.buckets == 0 || header.bloom_words == 0) return std::nullopt;
  const uint32_t hash = GnuHash(name.name);
  const uint64_t bloom = gnu_hash_ + sizeof(header);
  uint64_t word = 0;
  if (!ReadObject(reader, bloom + uint64_t{(hash / 64) % header.bloom_words} * sizeof(word), &word)) return std::nullopt;
  const uint64_t asked = (uint64_t{1} << (hash % 64)) | (uint64_t{1} << ((hash >> (header.bloom_shift & 31)) % 64));
  if ((word & asked) != asked) return std::nullopt;
  const uint64_t buckets = bloom + uint64_t{header.bloom_words} * sizeof(word);
  const uint64_t chains = buckets + uint64_t{header.buckets} * sizeof(uint32_t);
  uint32_t index = 0;
  if (!ReadObject(reader, buckets + uint64_t{hash % header.buckets} * sizeof(index), &index)) return std::nullopt;
  if (index < header.first_symbol) return std::nullopt;
  for (uint32_t steps = 0; steps < kMostChained; ++steps, ++index) {
    uint32_t chained = 0;
    if (!ReadObject(reader, chains + uint64_t{index - header.first_symbol} * sizeof(chained), &chained)) break;
    if ((chained | 1) == (hash | 1)) {
      if (const auto found = Accept(reader, index, name)) return found;
    }
    if ((chained & 1) != 0) break;
  }
  return std::nullopt;
}

std::optional<ElfFunction> ElfDynamic::FindByHash(const CodeReader& reader, const ElfFunctionName& name) const {
  struct {
    uint32_t buckets, chains;
  } header;
  if (!ReadObject(reader, hash_, &header) || header.buckets == 0) return std::nullopt;
  const uint64_t buckets = hash_ + sizeof(header);
  const uint64_t chains = buckets + uint64_t{header.buckets} * sizeof(uint32_t);
  uint32_t index = 0;
  if (!ReadObject(reader, buckets + uint64_t{SystemVHash(name.name) % header.buckets} * sizeof(index), &index)) {
    return std::nullopt;
  }
  for (uint32_t steps = 0; index != 0 && steps < kMostChained; ++steps) {
    if (const auto found = Accept(reader, index, name)) return found;
    if (!ReadObject(reader, chains + uint64_t{index} * sizeof(index), &index)) break;
  }
  return std::nullopt;
}

std::optional<ElfFunction> ElfDynamic::Find(const CodeReader& reader, const ElfFunctionName& name) const {
  if (name.name.empty()) return std::nullopt;
  if (gnu_hash_ != 0) return FindByGnuHash(reader, name);
  return hash_ != 0 ? FindByHash(reader, name) : std::nullopt;
}

}  // namespace tracelift::jit

#include "tests/jit/code/loaded_library.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstring>

namespace tracelift::jit {

std::optional<LoadedLibrary> LoadedLibrary::Open(const std::string& name) {
  if (dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) return std::nullopt;
  struct Search {
    std::string suffix;
    LoadedLibrary library;
    bool found = false;
  } search{"/" + name, {}, false};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto* s = static_cast<Search*>(data);
        if (!std::string(info->dlpi_name).ends_with(s->suffix)) return 0;
        s->found = true;
        s->library.base_ = info->dlpi_addr;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = info->dlpi_phdr[i];
          const uint64_t begin = info->dlpi_addr + header.p_vaddr;
          if (header.p_type == PT_LOAD) {
            s->library.segments_.push_back({{begin, begin + header.p_memsz}, (header.p_flags & PF_W) != 0});
          }
          if (header.p_type == PT_GNU_EH_FRAME) s->library.eh_frame_hdr_ = begin;
          if (header.p_type == PT_DYNAMIC) s->library.dynamic_ = begin;
        }
        return 1;
      },
      &search);
  if (!search.found) return std::nullopt;
  return search.library;
}

bool LoadedLibrary::Read(uint64_t address, std::span<uint8_t> out) const {
  for (const Segment& segment : segments_) {
    if (!segment.range.Contains(address) || segment.range.end - address < out.size()) continue;
    std::memcpy(out.data(), reinterpret_cast<const void*>(address), out.size());
    return true;
  }
  return false;
}

bool LoadedLibrary::IsConstant(uint64_t address, size_t size) const {
  for (const Segment& segment : segments_) {
    if (segment.range.Contains(address) && segment.range.end - address >= size) return !segment.writable;
  }
  return false;
}

std::vector<uint64_t> LoadedLibrary::TableBegins() const {
  const auto* header = reinterpret_cast<const uint8_t*>(eh_frame_hdr_);
  uint32_t count;
  std::memcpy(&count, header + 8, sizeof(count));
  std::vector<uint64_t> begins;
  for (uint32_t i = 0; i < count; ++i) {
    int32_t offset;
    std::memcpy(&offset, header + 12 + 8 * size_t{i}, sizeof(offset));
    begins.push_back(eh_frame_hdr_ + static_cast<uint64_t>(int64_t{offset}));
  }
  return begins;
}

std::vector<uint64_t> LoadedLibrary::FunctionSymbols() const {
  const ElfW(Sym)* symbols = nullptr;
  const char* strings = nullptr;
  for (const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(dynamic_); entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(entry->d_un.d_ptr);
    if (entry->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(entry->d_un.d_ptr);
  }
  // The symbol table has no count of its own; linkers put the string table behind it.
  std::vector<uint64_t> addresses;
  for (const auto* s = symbols; s != nullptr && reinterpret_cast<const char*>(s + 1) <= strings; ++s) {
    if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || s->st_shndx == SHN_UNDEF || s->st_size == 0) continue;
    addresses.push_back(base_ + s->st_value);
  }
  return addresses;
}

}  // namespace tracelift::jit

#include "profiler/preload/own_allocator.h"

#include <elf.h>
#include <sys/auxv.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace tracelift::preload {
namespace {

/// The executable's dynamic symbols, found as the loader finds them.
struct Symbols {
  const Elf64_Sym* table = nullptr;
  const char* names = nullptr;
  uint32_t count = 0;
};

// Hashed symbols come last; the highest chain ends with the last symbol.
uint32_t CountByGnuHash(const uint32_t* hash) {
  const uint32_t buckets = hash[0], first_hashed = hash[1], bloom_words = hash[2];
  const uint32_t* bucket = hash + 4 + 2 * static_cast<uint64_t>(bloom_words);
  const uint32_t* chain = bucket + buckets;
  uint32_t last = 0;
  for (uint32_t i = 0; i < buckets; ++i) {
    if (bucket[i] > last) last = bucket[i];
  }
  if (last < first_hashed) return first_hashed;
  while ((chain[last - first_hashed] & 1) == 0) ++last;
  return last + 1;
}

Symbols ExecutableSymbols() {
  Symbols symbols;
  const auto* header = reinterpret_cast<const Elf64_Phdr*>(getauxval(AT_PHDR));
  const uint64_t headers = getauxval(AT_PHNUM);
  if (!header) return symbols;
  uint64_t bias = 0;
  const Elf64_Phdr* dynamic = nullptr;
  for (uint64_t i = 0; i < headers; ++i) {
    if (header[i].p_type == PT_PHDR) bias = reinterpret_cast<uint64_t>(header) - header[i].p_vaddr;
    if (header[i].p_type == PT_DYNAMIC) dynamic = &header[i];
  }
  if (!dynamic) return symbols;
  // The loader has replaced addresses of the file by addresses in memory.
  for (const auto* entry = reinterpret_cast<const Elf64_Dyn*>(bias + dynamic->p_vaddr); entry->d_tag != DT_NULL; ++entry) {
    const uint64_t at = entry->d_un.d_ptr;
    if (entry->d_tag == DT_SYMTAB) symbols.table = reinterpret_cast<const Elf64_Sym*>(at);
    if (entry->d_tag == DT_STRTAB) symbols.names = reinterpret_cast<const char*>(at);
    if (entry->d_tag == DT_HASH) symbols.count = reinterpret_cast<const uint32_t*>(at)[1];
    if (entry->d_tag == DT_GNU_HASH && symbols.count == 0) symbols.count = CountByGnuHash(reinterpret_cast<const uint32_t*>(at));
  }
  if (!symbols.table || !symbols.names) symbols.count = 0;
  return symbols;
}

bool StartsThreads(const char* name) {
  for (const char* function : {"pthread_create", "thrd_create", "clone", "_ZNSt6thread15_M_start_threadE"}) {
    if (strncmp(name, function, strlen(function)) == 0) return true;
  }
  return false;
}

}  // namespace

bool HasSingleThreadedMalloc() {
  const Symbols symbols = ExecutableSymbols();
  bool own_malloc = false;
  for (uint32_t i = 1; i < symbols.count; ++i) {
    const Elf64_Sym& symbol = symbols.table[i];
    const char* name = symbols.names + symbol.st_name;
    if (symbol.st_shndx != SHN_UNDEF && strcmp(name, "malloc") == 0) own_malloc = true;
    if (symbol.st_shndx == SHN_UNDEF && StartsThreads(name)) return false;
  }
  return own_malloc;
}

}  // namespace tracelift::preload

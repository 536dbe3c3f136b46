#include "offload/runtime/own_libraries.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/stat.h>

namespace tracelift::offload {
namespace {

struct Wanted {
  struct stat file;
  uint64_t resolver;
  std::optional<uint64_t> bias;
  uint64_t code_begin = 0, code_end = 0;  // of the segment of the resolver, as linked
};

int Visit(dl_phdr_info* info, size_t, void* data) {
  auto* wanted = static_cast<Wanted*>(data);
  struct stat loaded;
  if (info->dlpi_name == nullptr || stat(info->dlpi_name, &loaded) != 0) return 0;
  if (loaded.st_dev != wanted->file.st_dev || loaded.st_ino != wanted->file.st_ino) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    if (wanted->resolver - segment.p_vaddr >= segment.p_memsz) continue;
    wanted->bias = info->dlpi_addr;
    wanted->code_begin = segment.p_vaddr;
    wanted->code_end = segment.p_vaddr + segment.p_memsz;
  }
  return 1;
}

}  // namespace

std::optional<uint64_t> ChooseIndirectFunction(const std::string& path, uint64_t resolver) {
  Wanted wanted{.file = {}, .resolver = resolver, .bias = std::nullopt};
  if (stat(path.c_str(), &wanted.file) != 0) return std::nullopt;
  // Of the C library's own, the one that a program without vector math has not loaded. Its file is the system's: what is
  // asked for is still looked for by file.
  [[maybe_unused]] static void* const vector_math = dlopen("libmvec.so.1", RTLD_LAZY | RTLD_LOCAL);
  dl_iterate_phdr(&Visit, &wanted);
  if (!wanted.bias) return std::nullopt;
  const uint64_t chosen = reinterpret_cast<uint64_t (*)()>(*wanted.bias + resolver)() - *wanted.bias;
  return chosen >= wanted.code_begin && chosen < wanted.code_end ? std::optional(chosen) : std::nullopt;
}

}  // namespace tracelift::offload

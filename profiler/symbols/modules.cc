#include "profiler/modules.h"

#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <cstring>

namespace tracelift::profiler {
namespace {

// While dl_iterate_phdr runs, the loader's lock is held. The program's malloc may be an interposer that takes this
// lock under its own, so allocating in the callback could deadlock: it only copies into memory given beforehand.
struct RawModule {
  static constexpr size_t kSegments = 16;
  char name[512];
  bool name_cut;
  uint64_t bias;
  size_t segments;
  struct {
    uint64_t begin, end;
    uint32_t flags;
  } segment[kSegments];
  MemoryRange eh_frame_hdr;
};

struct Collection {
  RawModule* modules = nullptr;  // null: only count
  size_t capacity = 0;
  size_t count = 0;
  uint64_t generation = 0;
};

int Collect(dl_phdr_info* info, size_t size, void* data) {
  auto& collection = *static_cast<Collection*>(data);
  if (size >= offsetof(dl_phdr_info, dlpi_subs) + sizeof(info->dlpi_subs)) {
    collection.generation = info->dlpi_adds + info->dlpi_subs;
  }
  size_t index = collection.count++;
  if (collection.modules == nullptr || index >= collection.capacity) return 0;
  RawModule& raw = collection.modules[index];
  const char* name = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  size_t length = std::min(std::strlen(name), sizeof(raw.name) - 1);
  std::memcpy(raw.name, name, length);
  raw.name[length] = 0;
  raw.name_cut = name[length] != 0;
  raw.bias = info->dlpi_addr;
  raw.segments = 0;
  raw.eh_frame_hdr = {};
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    uint64_t begin = raw.bias + header.p_vaddr;
    if (header.p_type == PT_LOAD && raw.segments < RawModule::kSegments && header.p_memsz != 0) {
      raw.segment[raw.segments++] = {begin, begin + header.p_memsz, header.p_flags};
    } else if (header.p_type == PT_GNU_EH_FRAME) {
      raw.eh_frame_hdr = {begin, begin + header.p_memsz};
    }
  }
  return 0;
}

int ReadGeneration(dl_phdr_info* info, size_t size, void* data) {
  if (size >= offsetof(dl_phdr_info, dlpi_subs) + sizeof(info->dlpi_subs)) {
    *static_cast<uint64_t*>(data) = info->dlpi_adds + info->dlpi_subs;
  }
  return 1;  // the first object tells; no need to see the others
}

std::string ProgramPath() {
  char path[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : "";
}

/// File names by address, for objects the loader knows only by a relative name (the program may have changed its
/// directory since).
std::string MappedFile(uint64_t address) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return "";
  std::string path;
  char line[PATH_MAX + 128];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long begin = 0, end = 0;
    int name_at = 0;
    if (std::sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &begin, &end, &name_at) < 2) continue;
    if (address < begin || address >= end) continue;
    if (name_at > 0) path = line + name_at;
    if (!path.empty() && path.back() == '\n') path.pop_back();
    break;
  }
  std::fclose(maps);
  return path;
}

Module MakeModule(const RawModule& raw, bool is_program) {
  Module module;
  module.load_bias = raw.bias;
  module.is_program = is_program;
  module.eh_frame_hdr = raw.eh_frame_hdr;
  for (size_t i = 0; i < raw.segments; ++i) {
    MemoryRange range{raw.segment[i].begin, raw.segment[i].end};
    if (i == 0) module.extent = range;
    module.extent.begin = std::min(module.extent.begin, range.begin);
    module.extent.end = std::max(module.extent.end, range.end);
    if (raw.segment[i].flags & PF_X) module.text.push_back(range);
    if (!(raw.segment[i].flags & PF_W)) module.constant.push_back(range);
  }
  module.path = raw.name;
  if (is_program) {
    module.path = ProgramPath();
  } else if (module.path.starts_with("linux-vdso")) {
    module.path = "[vdso]";
  } else if (!module.path.starts_with("/") || raw.name_cut) {
    std::string mapped = MappedFile(module.extent.begin);
    if (!mapped.empty()) module.path = mapped;
  }
  return module;
}

}  // namespace

bool Module::IsText(uint64_t address) const {
  return std::ranges::any_of(text, [&](const MemoryRange& range) { return range.Contains(address); });
}

bool Module::IsConstant(uint64_t address, uint64_t bytes) const {
  return std::ranges::any_of(constant, [&](const MemoryRange& range) { return range.Contains(address, bytes); });
}

ModuleList::ModuleList(std::vector<Module> modules, uint64_t generation)
    : modules_(std::move(modules)), generation_(generation) {
  std::ranges::sort(modules_, {}, [](const Module& module) { return module.extent.begin; });
}

ModuleList ModuleList::Snapshot() {
  Collection count;
  dl_iterate_phdr(Collect, &count);
  for (;;) {
    std::vector<RawModule> raw(count.count + 8);  // room for objects loaded meanwhile
    Collection collection{raw.data(), raw.size(), 0, 0};
    dl_iterate_phdr(Collect, &collection);
    if (collection.count > raw.size()) {
      count = collection;
      continue;
    }
    std::vector<Module> modules;
    for (size_t i = 0; i < collection.count; ++i) {
      if (raw[i].segments != 0) modules.push_back(MakeModule(raw[i], i == 0));  // the program always comes first
    }
    return ModuleList(std::move(modules), collection.generation);
  }
}

uint64_t ModuleList::Generation() {
  uint64_t generation = 0;
  dl_iterate_phdr(ReadGeneration, &generation);
  return generation;
}

const Module* ModuleList::Find(uint64_t address) const {
  auto after =
      std::ranges::upper_bound(modules_, address, {}, [](const Module& module) { return module.extent.begin; });
  if (after == modules_.begin()) return nullptr;
  const Module& module = *std::prev(after);
  return module.extent.Contains(address) ? &module : nullptr;
}

const Module* ModuleList::Program() const {
  auto found = std::ranges::find_if(modules_, &Module::is_program);
  return found == modules_.end() ? nullptr : &*found;
}

}  // namespace tracelift::profiler

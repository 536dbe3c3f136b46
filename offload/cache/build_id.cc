#include "offload/cache/build_id.h"

#include <elf.h>
#include <fmt/format.h>

#include <cstring>
#include <span>

// The linker's: where the file that contains this code begins.
extern "C" __attribute__((visibility("hidden"))) const Elf64_Ehdr __ehdr_start;

namespace tracelift::offload {
namespace {

constexpr size_t Padded(size_t size) { return (size + 3) & ~size_t{3}; }

std::string BuildIdIn(std::span<const uint8_t> notes) {
  Elf64_Nhdr note{};
  while (notes.size() >= sizeof(note)) {
    std::memcpy(&note, notes.data(), sizeof(note));
    const size_t name = Padded(note.n_namesz), value = Padded(note.n_descsz);
    if (name + value > notes.size() - sizeof(note)) return "";
    const std::span<const uint8_t> content = notes.subspan(sizeof(note) + name, note.n_descsz);
    const bool is_gnu = note.n_namesz == sizeof(ELF_NOTE_GNU) &&
                        std::memcmp(notes.data() + sizeof(note), ELF_NOTE_GNU, sizeof(ELF_NOTE_GNU)) == 0;
    if (is_gnu && note.n_type == NT_GNU_BUILD_ID) return fmt::format("{:02x}", fmt::join(content, ""));
    notes = notes.subspan(sizeof(note) + name + value);
  }
  return "";
}

}  // namespace

std::string OwnBuildId() {
  const auto* begin = reinterpret_cast<const uint8_t*>(&__ehdr_start);
  const auto* segments = reinterpret_cast<const Elf64_Phdr*>(begin + __ehdr_start.e_phoff);
  uint64_t first = UINT64_MAX;  // address that the file's first byte was linked for
  for (const Elf64_Phdr& segment : std::span(segments, __ehdr_start.e_phnum)) {
    if (segment.p_type == PT_LOAD && segment.p_offset == 0) first = segment.p_vaddr;
  }
  for (const Elf64_Phdr& segment : std::span(segments, __ehdr_start.e_phnum)) {
    if (segment.p_type != PT_NOTE || first == UINT64_MAX) continue;
    const std::string id = BuildIdIn({begin + (segment.p_vaddr - first), segment.p_filesz});
    if (!id.empty()) return id;
  }
  return "";
}

}  // namespace tracelift::offload

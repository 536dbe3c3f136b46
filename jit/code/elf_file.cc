#include "jit/elf_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "jit/code/elf_dynamic.h"
#include "jit/code/never_returns.h"
#include "jit/linkage_stub.h"

namespace tracelift::jit {
namespace {

std::unexpected<std::string> Damaged(const std::string& how) { return std::unexpected("damaged: " + how); }

/// The object at `offset` of the file, nullopt where the file is too short.
template <typename T>
std::optional<T> ObjectAt(const std::vector<uint8_t>& bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T object;
  std::memcpy(&object, bytes.data() + offset, sizeof(T));
  return object;
}

std::expected<std::vector<uint8_t>, std::string> ReadWhole(const std::string& path) {
  // Without O_NONBLOCK a pipe without a writer would hold us here.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::unexpected(strerror(errno));
  struct stat status;
  std::string problem;
  std::vector<uint8_t> bytes;
  if (fstat(fd, &status) != 0) {
    problem = strerror(errno);
  } else if (S_ISDIR(status.st_mode)) {
    problem = "is a directory";
  } else if (!S_ISREG(status.st_mode)) {
    problem = "not a regular file";
  } else {
    bytes.resize(static_cast<size_t>(status.st_size));
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n = read(fd, bytes.data() + done, bytes.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) problem = strerror(errno);
      if (n <= 0) break;
      done += static_cast<size_t>(n);
    }
    bytes.resize(done);  // it may have become shorter meanwhile
  }
  close(fd);
  if (!problem.empty()) return std::unexpected(problem);
  return bytes;
}

std::expected<Elf64_Ehdr, std::string> HeaderOf(const std::vector<uint8_t>& bytes) {
  if (bytes.size() < SELFMAG || std::memcmp(bytes.data(), ELFMAG, SELFMAG) != 0) {
    return std::unexpected("not an ELF file");
  }
  const auto header = ObjectAt<Elf64_Ehdr>(bytes, 0);
  if (!header) return Damaged("it ends within its ELF header");
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
      header->e_machine != EM_X86_64) {
    return std::unexpected(fmt::format("not x86-64 code (ELF class {}, machine {}); only that is lifted",
                                       header->e_ident[EI_CLASS], header->e_machine));
  }
  switch (header->e_type) {
    case ET_EXEC:
    case ET_DYN:
      return *header;
    case ET_REL:
      return std::unexpected("an object file; link it into a program or shared library first");
    case ET_CORE:
      return std::unexpected("a core dump; name the program or library instead");
    default:
      return std::unexpected(
          fmt::format("an ELF file of type {}, neither a program nor a shared library", header->e_type));
  }
}

KnownCallee CalleeNamed(std::string_view name) {
  if (name == "memset") return KnownCallee::kMemset;
  if (name == "memcpy" || name == "memmove") return KnownCallee::kMemmove;
  return KnownCallee::kNone;
}

}  // namespace

ElfFile::ElfFile(ElfFile&&) noexcept = default;
ElfFile& ElfFile::operator=(ElfFile&&) noexcept = default;
ElfFile::~ElfFile() = default;

std::expected<ElfFile, std::string> ElfFile::Open(const std::string& path) {
  auto bytes = ReadWhole(path);
  if (!bytes) return std::unexpected(std::move(bytes.error()));
  return FromBytes(std::move(*bytes));
}

std::expected<ElfFile, std::string> ElfFile::FromBytes(std::vector<uint8_t> bytes) {
  ElfFile file;
  file.bytes_ = std::move(bytes);
  if (auto parsed = file.ParseHeaders(); !parsed) return std::unexpected(std::move(parsed.error()));
  return file;
}

std::expected<void, std::string> ElfFile::ParseHeaders() {
  const auto header = HeaderOf(bytes_);
  if (!header) return std::unexpected(header.error());
  if (header->e_phnum == 0 || header->e_phentsize != sizeof(Elf64_Phdr)) return Damaged("it has no program headers");

  uint64_t dynamic = 0;
  for (uint64_t i = 0; i < header->e_phnum; ++i) {
    // The sum wraps only for an e_phoff that lies beyond any file.
    const auto segment =
        ObjectAt<Elf64_Phdr>(bytes_, std::max(header->e_phoff, header->e_phoff + i * sizeof(Elf64_Phdr)));
    if (!segment) return Damaged("its program headers lie beyond its end");
    if (segment->p_type == PT_GNU_EH_FRAME) eh_frame_hdr_ = segment->p_vaddr;
    if (segment->p_type == PT_DYNAMIC) dynamic = segment->p_vaddr;
    if (segment->p_type != PT_LOAD || segment->p_filesz == 0) continue;
    if (segment->p_offset > bytes_.size() || bytes_.size() - segment->p_offset < segment->p_filesz) {
      return Damaged(fmt::format("segment {} ({} bytes at offset {:#x}) lies beyond its end", i, segment->p_filesz,
                                 segment->p_offset));
    }
    if (segment->p_memsz < segment->p_filesz || segment->p_vaddr + segment->p_memsz < segment->p_vaddr) {
      return Damaged(fmt::format("segment {} has no sensible size", i));
    }
    segments_.push_back({{segment->p_vaddr, segment->p_vaddr + segment->p_filesz},
                         segment->p_vaddr + segment->p_memsz,
                         segment->p_offset,
                         (segment->p_flags & PF_W) != 0,
                         (segment->p_flags & PF_X) != 0});
  }
  if (std::ranges::none_of(segments_, &Segment::executable)) {
    return std::unexpected("there is no code in it; a file of debug information only?");
  }
  if (eh_frame_hdr_ == 0) FindFrames(header->e_shoff, header->e_shnum, header->e_shstrndx);
  if (eh_frame_hdr_ == 0 && eh_frame_.size() != 0) without_index_ = FindAllFunctions(*this, eh_frame_).functions;
  dynamic_ = dynamic != 0 ? std::make_unique<ElfDynamic>(*this, dynamic) : std::make_unique<ElfDynamic>();
  if (header->e_type == ET_EXEC) dynamic_->MarkProgram();
  return {};
}

/// Statically linked programs have .eh_frame, but no index of it.
void ElfFile::FindFrames(uint64_t section_offset, unsigned count, unsigned names) {
  constexpr std::string_view kName(".eh_frame\0", 10);
  const auto section_at = [&](uint64_t i) {
    return ObjectAt<Elf64_Shdr>(bytes_, std::max(section_offset, section_offset + i * sizeof(Elf64_Shdr)));
  };
  const auto strings = section_at(names);
  if (section_offset == 0 || names >= count || !strings) return;
  for (unsigned i = 0; i < count; ++i) {
    const auto section = section_at(i);
    if (!section) return;
    const uint64_t name = strings->sh_offset + section->sh_name;
    if (name > bytes_.size() || bytes_.size() - name < kName.size()) continue;
    if (std::memcmp(bytes_.data() + name, kName.data(), kName.size()) != 0) continue;
    if (section->sh_addr + section->sh_size < section->sh_addr) return;
    eh_frame_ = {section->sh_addr, section->sh_addr + section->sh_size};
    return;
  }
}

const ElfFile::Segment* ElfFile::SegmentOf(uint64_t address, uint64_t size) const {
  const auto holds = [&](const Segment& segment) {
    return segment.addresses.Contains(address) && size <= segment.addresses.end - address;
  };
  const auto segment = std::ranges::find_if(segments_, holds);
  return segment == segments_.end() ? nullptr : &*segment;
}

bool ElfFile::Read(uint64_t address, std::span<uint8_t> out) const {
  const Segment* segment = SegmentOf(address, out.size());
  if (segment == nullptr) return false;
  if (!out.empty()) {
    std::memcpy(out.data(), bytes_.data() + segment->offset + (address - segment->addresses.begin), out.size());
  }
  return true;
}

bool ElfFile::IsConstant(uint64_t address, size_t size) const {
  const Segment* segment = SegmentOf(address, size);
  return segment != nullptr && !segment->writable;
}

template <typename T>
bool ElfFile::ReadObject(uint64_t address, T* object) const {
  return Read(address, {reinterpret_cast<uint8_t*>(object), sizeof(T)});
}

KnownCallee ElfFile::CalleeThrough(uint64_t address) const {
  const std::optional<ElfFunctionName> linkage = LinkageAt(address);
  return linkage ? CalleeNamed(linkage->name) : KnownCallee::kNone;
}

KnownCallee ElfFile::CalleeAt(uint64_t address) const {
  const std::optional<uint64_t> slot = PointerOfLinkageStub(*this, address);
  return slot ? CalleeThrough(*slot) : KnownCallee::kNone;
}

std::optional<uint64_t> ElfFile::EntryBehind(uint64_t stub) const { return PointerOfLinkageStub(*this, stub); }

bool ElfFile::NeverReturns(uint64_t address) const {
  const std::optional<uint64_t> entry = EntryBehind(address);
  const std::optional<ElfFunctionName> linkage = entry ? LinkageAt(*entry) : std::nullopt;
  return linkage && IsKnownNotToReturn(linkage->name);
}

const ElfNeeds& ElfFile::needs() const { return dynamic_->needs(); }

std::optional<ElfFunctionName> ElfFile::LinkageAt(uint64_t entry) const { return dynamic_->NameAt(*this, entry); }

std::optional<ElfFunction> ElfFile::ExportedFunction(const ElfFunctionName& name) const {
  return dynamic_->Find(*this, name);
}

std::optional<uint64_t> ElfFile::LinkedFunction(uint64_t entry) const {
  const std::optional<ElfFunctionName> linkage = LinkageAt(entry);
  if (!linkage || linkage->resolver != 0) return std::nullopt;
  const std::optional<ElfFunction> function = ExportedFunction(*linkage);
  return function && !function->is_indirect ? std::optional(function->address) : std::nullopt;
}

std::optional<AddressRange> ElfFile::FunctionAround(uint64_t address) const {
  std::optional<AddressRange> found;
  if (eh_frame_hdr_ != 0) {
    found = FindFunctionBounds(*this, eh_frame_hdr_, address);
  } else {
    const auto after = std::ranges::upper_bound(without_index_, address, {}, &AddressRange::begin);
    if (after != without_index_.begin() && std::prev(after)->Contains(address)) found = *std::prev(after);
  }
  if (!found || IsLinkageTable(*found)) return std::nullopt;
  const Segment* segment = SegmentOf(found->begin, found->size());
  return segment != nullptr && segment->executable ? found : std::nullopt;
}

AddressRange ElfFile::extent() const {
  AddressRange range = segments_.front().addresses;
  for (const Segment& segment : segments_) {
    range = {std::min(range.begin, segment.addresses.begin), std::max(range.end, segment.end)};
  }
  return range;
}

/// A linkage table has unwind information as a function has. It begins with a stub, or with
/// "push [rip+x]; [bnd] jmp [rip+x]".
bool ElfFile::IsLinkageTable(AddressRange range) const {
  constexpr uint64_t kPushBytes = 6;
  uint8_t first[2];
  if (!Read(range.begin, first)) return false;
  const bool pushes = first[0] == 0xff && first[1] == 0x35;
  return PointerOfLinkageStub(*this, range.begin + (pushes ? kPushBytes : 0)).has_value();
}

std::expected<FunctionList, std::string> ElfFile::Functions() const {
  if (eh_frame_hdr_ == 0 && eh_frame_.size() == 0) {
    return std::unexpected("it has no unwind tables (.eh_frame), so its functions cannot be found");
  }
  FunctionList list = eh_frame_hdr_ != 0 ? FindAllFunctions(*this, eh_frame_hdr_) : FindAllFunctions(*this, eh_frame_);
  if (list.functions.empty()) return Damaged("its unwind tables (.eh_frame) name no function");
  std::erase_if(list.functions, [&](AddressRange range) {
    const Segment* segment = SegmentOf(range.begin, range.size());
    return segment == nullptr || !segment->executable || IsLinkageTable(range);
  });
  return list;
}

}  // namespace tracelift::jit

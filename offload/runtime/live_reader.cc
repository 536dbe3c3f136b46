#include "offload/runtime/live_reader.h"

#include <elf.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "jit/function_code.h"
#include "jit/linkage_stub.h"
#include "jit/never_returning.h"

namespace tracelift::offload {
namespace {

template <typename T>
bool ReadObject(const jit::CodeReader& reader, uint64_t address, T* object) {
  return reader.Read(address, {reinterpret_cast<uint8_t*>(object), sizeof(T)});
}

/// The module's dynamic section, as the loader left it.
std::vector<Elf64_Dyn> DynamicSection(const jit::CodeReader& reader, const profiler::Module& module) {
  constexpr size_t kMostEntries = 1000;
  std::vector<Elf64_Dyn> section;
  Elf64_Ehdr header{};
  if (!ReadObject(reader, module.extent.begin, &header)) return section;
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return section;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    if (!ReadObject(reader, module.extent.begin + header.e_phoff + i * sizeof(segment), &segment)) return {};
    if (segment.p_type != PT_DYNAMIC) continue;
    Elf64_Dyn entry{};
    for (uint64_t at = module.load_bias + segment.p_vaddr; section.size() < kMostEntries; at += sizeof(entry)) {
      if (!ReadObject(reader, at, &entry) || entry.d_tag == DT_NULL) break;
      section.push_back(entry);
    }
  }
  return section;
}

/// What relocations bind to functions.
LinkageTable LinkageOf(const jit::CodeReader& reader, const profiler::Module& module) {
  uint64_t table = 0, table_bytes = 0, calls = 0, calls_bytes = 0;
  // The loader relocates addresses, where it can write to them.
  const auto placed = [&](uint64_t address) { return module.extent.Contains(address) ? address : address + module.load_bias; };
  LinkageTable linkage;
  for (const Elf64_Dyn& entry : DynamicSection(reader, module)) {
    if (entry.d_tag == DT_RELA) table = entry.d_un.d_ptr;
    if (entry.d_tag == DT_RELASZ) table_bytes = entry.d_un.d_val;
    if (entry.d_tag == DT_JMPREL) calls = entry.d_un.d_ptr;
    if (entry.d_tag == DT_PLTRELSZ) calls_bytes = entry.d_un.d_val;
    if (entry.d_tag == DT_SYMTAB) linkage.symbols = placed(entry.d_un.d_ptr);
    if (entry.d_tag == DT_STRTAB) linkage.names = placed(entry.d_un.d_ptr);
  }
  const auto collect = [&](uint64_t begin, uint64_t bytes) {
    begin = placed(begin);
    if (!module.extent.Contains(begin, bytes)) return;
    std::vector<Elf64_Rela> relocations(bytes / sizeof(Elf64_Rela));
    const size_t read_bytes = relocations.size() * sizeof(Elf64_Rela);
    if (!reader.Read(begin, {reinterpret_cast<uint8_t*>(relocations.data()), read_bytes})) return;
    for (const Elf64_Rela& relocation : relocations) {
      const auto type = ELF64_R_TYPE(relocation.r_info);
      const bool binds = type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT || type == R_X86_64_IRELATIVE;
      if (binds) linkage.entries[module.load_bias + relocation.r_offset] = ELF64_R_SYM(relocation.r_info);
    }
  };
  collect(table, table_bytes);
  collect(calls, calls_bytes);
  return linkage;
}

}  // namespace

bool LiveReader::Read(uint64_t address, std::span<uint8_t> out) const {
  // The kernel checks the range: an unmapped page is an error, not a fault.
  const iovec local{out.data(), out.size()};
  const iovec remote{reinterpret_cast<void*>(address), out.size()};
  if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != static_cast<ssize_t>(out.size())) return false;
  if (patcher_ != nullptr) patcher_->ShowOriginal(address, out);
  return true;
}

bool LiveReader::IsConstant(uint64_t address, size_t size) const { 
  const profiler::Module* module = modules_.Find(address);
  return module && module->IsConstant(address, size);
}

jit::AddressRange LiveReader::ConstantAround(uint64_t address) const {
  const profiler::Module* module = modules_.Find(address);
  if (module == nullptr) return {};
  const auto contains = [&](const auto& constant) { return constant.Contains(address); };
  const auto range = std::ranges::find_if(module->constant, contains);
  return range == module->constant.end() ? jit::AddressRange{} : jit::AddressRange{range->begin, range->end};
}

const LinkageTable* LiveReader::LinkageWith(uint64_t entry) const {
  const profiler::Module* module = modules_.Find(entry);
  if (module == nullptr) return nullptr;
  if (linkage_generation_ != modules_.generation()) linkage_.clear();  // addresses may have been used again
  linkage_generation_ = modules_.generation();
  const auto [linkage, is_new] = linkage_.try_emplace(module->extent.begin);
  if (is_new) linkage->second = LinkageOf(*this, *module);
  return linkage->second.entries.contains(entry) ? &linkage->second : nullptr;
}

bool LiveReader::NeverReturns(uint64_t address) const {
  constexpr size_t kLongestName = 64;  // of those that are known
  const std::optional<uint64_t> pointer = jit::PointerOfLinkageStub(*this, address);
  const LinkageTable* linkage = pointer ? LinkageWith(*pointer) : nullptr;
  const uint32_t symbol = linkage ? linkage->entries.at(*pointer) : 0;
  Elf64_Sym entry{};
  std::array<char, kLongestName> name{};
  if (symbol == 0 || !ReadObject(*this, linkage->symbols + symbol * sizeof(entry), &entry)) return false;
  if (!ReadObject(*this, linkage->names + entry.st_name, &name)) return false;
  const auto end = std::ranges::find(name, '\0');
  return end != name.end() && jit::IsKnownNotToReturn(name.data());
}

std::optional<uint64_t> LiveReader::LinkedFunction(uint64_t entry) const {
  uint64_t target = 0;
  if (LinkageWith(entry) == nullptr || !ReadObject(*this, entry, &target)) return std::nullopt;
  const profiler::Module* module = modules_.Find(target);
  uint8_t code[5];
  if (module == nullptr || !module->IsText(target) || !Read(target, code)) return std::nullopt;
  // Until it is bound the entry leads to its own stub: [endbr64] push number.
  constexpr uint8_t kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa}, kPush = 0x68;
  const uint8_t first = std::memcmp(code, kEndbr64, sizeof(kEndbr64)) == 0 ? code[4] : code[0];
  return first == kPush ? std::nullopt : std::optional(target);
}

std::optional<jit::AddressRange> LiveReader::FunctionAround(uint64_t address) const {
  const profiler::Module* module = modules_.Find(address);
  if (module == nullptr || module->eh_frame_hdr.begin == 0) return std::nullopt;
  return jit::FindFunctionBounds(*this, module->eh_frame_hdr.begin, address);
}

std::optional<jit::ModulePlace> LiveReader::ModuleAround(uint64_t address) const {
  const profiler::Module* module = modules_.Find(address);
  if (module == nullptr) return std::nullopt;
  return jit::ModulePlace{{module->extent.begin, module->extent.end}, module->load_bias != 0};
}

jit::KnownCallee LiveReader::CalleeThrough(uint64_t address) const {
  const std::optional<uint64_t> target = LinkedFunction(address);
  if (!target.has_value()) return jit::KnownCallee::kNone;
  // Our own linkage ends in the same variants of glibc. Another function of that name (an interposer's) is unknown.
  if (*target == reinterpret_cast<uint64_t>(&std::memset)) return jit::KnownCallee::kMemset;
  if (*target == reinterpret_cast<uint64_t>(static_cast<void* (*)(void*, const void*, size_t)>(&std::memcpy)) ||
      *target == reinterpret_cast<uint64_t>(&std::memmove)) {
    return jit::KnownCallee::kMemmove;
  }
  return vector_math_.CalleeAt(*target);
}

jit::KnownCallee LiveReader::CalleeAt(uint64_t address) const {
  const std::optional<uint64_t> pointer = jit::PointerOfLinkageStub(*this, address);
  return pointer.has_value() ? CalleeThrough(*pointer) : jit::KnownCallee::kNone;
}

}  // namespace tracelift::offload

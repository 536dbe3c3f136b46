#include "jit/elf_program.h"

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <set>
#include <unordered_map>

#include "jit/code/library_search.h"
#include "jit/code/never_returns.h"

namespace tracelift::jit {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kGap = 16 * kPage;  // between files: nothing may look as if it went on in the next one
// A program and its libraries are far apart when they run, so that relative operands do not reach from one to the other.
constexpr uint64_t kLibrariesOfPrograms = 0x7f0000000000;
constexpr uint64_t kAddressSpace = uint64_t{1} << 47;

constexpr int kDeepestCalls = 40;  // followed to see whether a function returns

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

}  // namespace

struct ElfProgram::Findings {
  std::mutex endings;
  std::unordered_map<uint64_t, bool> never_returns;  // guarded by `endings`
  std::mutex choices;
  std::unordered_map<uint64_t, std::optional<uint64_t>> chosen;  // by resolver; guarded by `choices`
};

ElfProgram::ElfProgram() : findings_(std::make_unique<Findings>()) {}
ElfProgram::ElfProgram(ElfProgram&&) noexcept = default;
ElfProgram& ElfProgram::operator=(ElfProgram&&) noexcept = default;
ElfProgram::~ElfProgram() = default;

std::expected<ElfProgram, std::string> ElfProgram::Open(const std::string& path, IndirectFunctionChoice choose) {
  auto file = ElfFile::Open(path);
  if (!file) return std::unexpected(std::move(file.error()));
  ElfProgram program;
  program.choose_ = std::move(choose);
  const AddressRange extent = file->extent();
  program.parts_.push_back({path, std::move(*file), 0, extent});
  program.AddLibraries();
  return program;
}

/// Breadth first, each once: the order in which the dynamic linker looks names up.
void ElfProgram::AddLibraries() {
  const LibrarySearch search;
  std::set<std::string> seen;  // names and paths
  seen.insert(parts_.front().path.substr(parts_.front().path.rfind('/') + 1));
  uint64_t place = parts_.front().extent.end + kGap;
  if (file().needs().is_program) place = std::max(place, kLibrariesOfPrograms);
  for (size_t i = 0; i < parts_.size(); ++i) {
    const ElfNeeds needs = parts_[i].file.needs();
    for (const std::string& name : needs.libraries) {
      if (!seen.insert(name).second) continue;
      const std::optional<std::string> path = search.Find(name, needs, FolderOf(parts_[i].path));
      std::error_code ignored;  // the path then stays as it is, or cannot be opened
      if (path && !seen.insert(std::filesystem::weakly_canonical(*path, ignored)).second) continue;
      auto library = path ? ElfFile::Open(*path) : std::unexpected(std::string("not found"));
      if (!library) {
        missing_.push_back(name);
        continue;
      }
      const AddressRange linked = library->extent();
      const uint64_t bias = (place + kPage - 1) / kPage * kPage - linked.begin / kPage * kPage;
      const AddressRange extent = {linked.begin + bias, linked.end + bias};
      if (extent.end > kAddressSpace || extent.end < extent.begin) {  // sizes that no library has
        missing_.push_back(name);
        continue;
      }
      place = extent.end + kGap;
      parts_.push_back({*path, std::move(*library), bias, extent});
    }
  }
}

const ElfProgram::Part* ElfProgram::PartAt(uint64_t address) const {
  if (parts_.front().extent.Contains(address)) return &parts_.front();
  const auto after = std::upper_bound(parts_.begin() + 1, parts_.end(), address,
                                      [](uint64_t a, const Part& part) { return a < part.extent.begin; });
  if (after == parts_.begin() + 1 || !std::prev(after)->extent.Contains(address)) return nullptr;
  return &*std::prev(after);
}

bool ElfProgram::Read(uint64_t address, std::span<uint8_t> out) const {
  const Part* part = PartAt(address);
  return part != nullptr && part->file.Read(address - part->bias, out);
}

bool ElfProgram::IsConstant(uint64_t address, size_t size) const {
  const Part* part = PartAt(address);
  return part != nullptr && part->file.IsConstant(address - part->bias, size);
}

KnownCallee ElfProgram::CalleeAt(uint64_t address) const {
  const Part* part = PartAt(address);
  return part != nullptr ? part->file.CalleeAt(address - part->bias) : KnownCallee::kNone;
}

KnownCallee ElfProgram::CalleeThrough(uint64_t address) const {
  const Part* part = PartAt(address);
  return part != nullptr ? part->file.CalleeThrough(address - part->bias) : KnownCallee::kNone;
}

std::optional<AddressRange> ElfProgram::FunctionAround(uint64_t address) const {
  const Part* part = PartAt(address);
  if (part == nullptr) return std::nullopt;
  const std::optional<AddressRange> range = part->file.FunctionAround(address - part->bias);
  if (!range) return std::nullopt;
  return AddressRange{range->begin + part->bias, range->end + part->bias};
}

bool ElfProgram::NeverReturns(uint64_t address) const {
  const std::lock_guard lock(findings_->endings);
  return NeverReturns(address, 0);
}

bool ElfProgram::NeverReturns(uint64_t address, int depth) const {
  const Part* part = PartAt(address);
  if (part == nullptr || depth == kDeepestCalls) return false;
  if (const std::optional<uint64_t> entry = part->file.EntryBehind(address - part->bias)) {
    if (part->file.NeverReturns(address - part->bias)) return true;
    const std::optional<uint64_t> function = LinkedFunction(*entry + part->bias);
    return function && NeverReturns(*function, depth + 1);
  }
  // While it is being looked at, should it call itself, it returns.
  const auto [known, is_new] = findings_->never_returns.try_emplace(address, false);
  if (!is_new) return known->second;
  const std::optional<AddressRange> function = FunctionAround(address);
  const bool never = function && function->begin == address &&
                     HasNoWayOut(*this, *function, [&](uint64_t callee) { return NeverReturns(callee, depth + 1); });
  return findings_->never_returns[address] = never;
}

std::optional<uint64_t> ElfProgram::LinkedFunction(uint64_t entry) const {
  const Part* part = PartAt(entry);
  if (part == nullptr) return std::nullopt;
  const std::optional<ElfFunctionName> name = part->file.LinkageAt(entry - part->bias);
  return name ? Bind(*part, *name) : std::nullopt;
}

std::optional<uint64_t> ElfProgram::Choose(const Part& part, uint64_t resolver) const {
  if (!choose_) return std::nullopt;
  const std::lock_guard lock(findings_->choices);
  const auto [known, is_new] = findings_->chosen.try_emplace(resolver + part.bias);
  if (is_new) {
    const std::optional<uint64_t> chosen = choose_(part.path, resolver);
    if (chosen) known->second = *chosen + part.bias;
  }
  return known->second;
}

std::optional<uint64_t> ElfProgram::Bind(const Part& part, const ElfFunctionName& name) const {
  if (name.resolver != 0) return Choose(part, name.resolver);
  const Part* definer = nullptr;
  ElfFunction function;
  const auto defines = [&](const Part& candidate) {
    const std::optional<ElfFunction> found = candidate.file.ExportedFunction(name);
    if (!found) return false;
    definer = &candidate;
    function = *found;
    return true;
  };
  const bool in_itself = part.file.needs().looks_in_itself_first && defines(part);
  if (!in_itself && std::ranges::none_of(parts_, defines)) return std::nullopt;
  return function.is_indirect ? Choose(*definer, function.address) : std::optional(function.address + definer->bias);
}

ElfProgram::Place ElfProgram::PlaceOf(uint64_t address) const {
  const Part* part = PartAt(address);
  return part != nullptr ? Place{part->path, address - part->bias} : Place{};
}

std::vector<std::string> ElfProgram::Libraries() const {
  std::vector<std::string> paths;
  for (size_t i = 1; i < parts_.size(); ++i) paths.push_back(parts_[i].path);
  return paths;
}

}  // namespace tracelift::jit

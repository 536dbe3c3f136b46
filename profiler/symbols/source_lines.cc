#include "profiler/symbols/source_lines.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

namespace tracelift::profiler {
namespace {

// dwfl_build_id_find_debuginfo looks at local files only. The standard callback would also ask the servers of
// DEBUGINFOD_URLS, and a traced program must not wait for a network.
const Dwfl_Callbacks kCallbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_build_id_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = nullptr,
};

std::string FileAndLine(const char* file, int line) {
  if (file == nullptr || line <= 0) return "";
  const char* slash = std::strrchr(file, '/');
  return fmt::format("{}:{}", slash == nullptr ? file : slash + 1, line);
}

}  // namespace

struct SourceLines::Impl {
  Dwfl* dwfl = nullptr;
  Dwfl_Module* module = nullptr;

  ~Impl() {
    if (dwfl != nullptr) dwfl_end(dwfl);
  }

  bool Open(const std::string& path) {
    struct stat status;
    if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
    dwfl = dwfl_begin(&kCallbacks);
    if (dwfl == nullptr) return false;
    module = dwfl_report_offline(dwfl, path.c_str(), path.c_str(), -1);
    return module != nullptr && dwfl_report_end(dwfl, nullptr, nullptr) == 0;
  }

  std::string FromIndex(Dwarf_Addr address) {
    Dwfl_Line* line = dwfl_module_getsrc(module, address);
    if (line == nullptr) return "";
    int number = 0;
    const char* file = dwfl_lineinfo(line, nullptr, &number, nullptr, nullptr, nullptr);
    return FileAndLine(file, number);
  }

  /// clang writes no .debug_aranges, without which dwfl_module_getsrc finds nothing: ask each unit for its ranges.
  std::string FromUnits(Dwarf_Addr address) {
    Dwarf_Addr bias = 0;
    for (Dwarf_Die* unit = dwfl_module_nextcu(module, nullptr, &bias); unit != nullptr;
         unit = dwfl_module_nextcu(module, unit, &bias)) {
      if (dwarf_haspc(unit, address - bias) != 1) continue;
      Dwarf_Line* line = dwarf_getsrc_die(unit, address - bias);
      int number = 0;
      if (line == nullptr || dwarf_lineno(line, &number) != 0) continue;
      return FileAndLine(dwarf_linesrc(line, nullptr, nullptr), number);
    }
    return "";
  }
};

SourceLines::SourceLines(std::string path) : path_(std::move(path)) {}
SourceLines::~SourceLines() = default;

std::string SourceLines::Find(uint64_t elf_address) {
  if (!opened_) {
    opened_ = true;
    auto impl = std::make_unique<Impl>();
    GElf_Addr bias = 0;
    if (impl->Open(path_) && dwfl_module_getdwarf(impl->module, &bias) != nullptr) impl_ = std::move(impl);
  }
  if (impl_ == nullptr) return "";
  GElf_Addr bias = 0;
  // dwfl places the file at an address of its own choice; the difference is the bias of its ELF file.
  if (dwfl_module_getelf(impl_->module, &bias) == nullptr) return "";
  std::string found = impl_->FromIndex(elf_address + bias);
  return found.empty() ? impl_->FromUnits(elf_address + bias) : found;
}

}  // namespace tracelift::profiler

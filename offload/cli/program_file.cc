#include "offload/cli/program_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "offload/cli/commands.h"

namespace tracelift::offload {
namespace {

constexpr int kMostInterpreters = 4;  // as the kernel

std::unexpected<ProgramError> Fail(int status, std::string message) {
  return std::unexpected(ProgramError{status, std::move(message)});
}

class File {
 public:
  explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  bool is_open() const { return fd_ >= 0; }

  /// Up to `bytes` from `offset`; shorter at the end of the file.
  std::string Read(uint64_t offset, size_t bytes) const {
    std::string data(bytes, '\0');
    const ssize_t n = pread(fd_, data.data(), bytes, static_cast<off_t>(offset));
    data.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return data;
  }
  template <typename T>
  bool ReadObject(uint64_t offset, T* object) const {
    const std::string data = Read(offset, sizeof(T));
    if (data.size() != sizeof(T)) return false;
    memcpy(object, data.data(), sizeof(T));
    return true;
  }

 private:
  int fd_;
};

/// The names of the libraries that an ELF file asks for; empty when its dynamic section cannot be read.
std::vector<std::string> NeededLibraries(const File& file, const std::vector<Elf64_Phdr>& segments) {
  const auto to_offset = [&](uint64_t address) -> std::optional<uint64_t> {
    for (const Elf64_Phdr& segment : segments) {
      if (segment.p_type == PT_LOAD && address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz) {
        return segment.p_offset + (address - segment.p_vaddr);
      }
    }
    return std::nullopt;
  };
  std::vector<uint64_t> names;
  std::optional<uint64_t> strings;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_DYNAMIC) continue;
    Elf64_Dyn entry;
    for (uint64_t at = 0; at + sizeof(entry) <= segment.p_filesz && at < (1u << 20); at += sizeof(entry)) {
      if (!file.ReadObject(segment.p_offset + at, &entry) || entry.d_tag == DT_NULL) break;
      if (entry.d_tag == DT_NEEDED) names.push_back(entry.d_un.d_val);
      if (entry.d_tag == DT_STRTAB) strings = to_offset(entry.d_un.d_ptr);
    }
  }
  std::vector<std::string> libraries;
  if (!strings) return libraries;
  for (const uint64_t name : names) libraries.emplace_back(file.Read(*strings + name, 256).c_str());
  return libraries;
}

std::expected<void, ProgramError> CheckElf(const std::string& path, const File& file) {
  Elf64_Ehdr header;
  if (!file.ReadObject(0, &header)) return Fail(kExitNotExecutable, path + ": damaged: it ends within its ELF header");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) {
    return Fail(kExitUsage, path + ": not an x86-64 program; tracelift runs 64-bit x86 programs only");
  }
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
    return Fail(kExitNotExecutable, path + ": an ELF file, but not a program");
  }
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  for (size_t i = 0; i < segments.size(); ++i) {
    if (header.e_phentsize != sizeof(Elf64_Phdr) ||
        !file.ReadObject(header.e_phoff + i * sizeof(Elf64_Phdr), &segments[i])) {
      return Fail(kExitNotExecutable, path + ": damaged: it ends within its program headers");
    }
  }
  bool has_interpreter = false;
  for (const Elf64_Phdr& segment : segments) has_interpreter = has_interpreter || segment.p_type == PT_INTERP;
  if (!has_interpreter) {
    return Fail(kExitUsage, path + ": statically linked: the loader would ignore LD_PRELOAD; link it dynamically");
  }
  for (const std::string& library : NeededLibraries(file, segments)) {
    if (library.starts_with("libasan.so") || library.starts_with("libtsan.so")) {
      return Fail(kExitUsage, fmt::format("{}: built with a sanitizer ({}), which must come before all preloaded "
                                          "libraries; build it without",
                                          path, library));
    }
  }
  return {};
}

std::expected<void, ProgramError> CheckFile(const std::string& path, int depth) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) return Fail(kExitNotFound, fmt::format("{}: {}", path, strerror(errno)));
  if (S_ISDIR(status.st_mode)) return Fail(kExitNotExecutable, path + ": is a directory");
  if (!S_ISREG(status.st_mode) || access(path.c_str(), X_OK) != 0) {
    return Fail(kExitNotExecutable, path + ": not executable; check its permissions");
  }
  if (status.st_mode & (S_ISUID | S_ISGID)) {
    return Fail(kExitUsage, fmt::format("{}: set{}id: the loader ignores LD_PRELOAD for programs that change their "
                                        "rights; run a copy without the bit",
                                        path, status.st_mode & S_ISUID ? "u" : "g"));
  }
  if (getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
    return Fail(kExitUsage, path + ": has file capabilities: the loader ignores LD_PRELOAD for programs that change "
                                   "their rights; run a copy without them");
  }
  const File file(path);
  // A file that may be executed but not read: the kernel will say.
  if (!file.is_open()) return {};
  const std::string start = file.Read(0, 256);
  if (start.starts_with(ELFMAG)) return CheckElf(path, file);
  if (!start.starts_with("#!")) {
    return Fail(kExitNotExecutable, path + ": neither an ELF program nor a script that begins with #!");
  }
  const size_t first = start.find_first_not_of(" \t", 2);
  if (first == std::string::npos || start[first] == '\n') {
    return Fail(kExitNotExecutable, path + ": its first line names no interpreter");
  }
  const std::string interpreter = start.substr(first, start.find_first_of(" \t\n", first) - first);
  if (depth >= kMostInterpreters) return Fail(kExitNotExecutable, path + ": too many interpreters");
  auto checked = CheckFile(interpreter, depth + 1);
  if (!checked) checked.error().message = fmt::format("{}: its interpreter {}", path, checked.error().message);
  return checked;
}

}  // namespace

std::expected<std::string, ProgramError> FindProgram(const std::string& name) {
  if (name.empty()) return Fail(kExitNotFound, "the program's name is empty");
  std::string found;
  if (name.find('/') != std::string::npos) {
    found = name;
  } else {
    const char* path = getenv("PATH");
    std::string_view folders = path ? path : "/bin:/usr/bin";
    std::string not_executable;
    while (found.empty()) {
      const size_t colon = folders.find(':');
      const std::string_view folder = folders.substr(0, colon);
      const std::string candidate = (folder.empty() ? "." : std::string(folder)) + "/" + name;
      struct stat status;
      if (stat(candidate.c_str(), &status) == 0 && S_ISREG(status.st_mode)) {
        if (access(candidate.c_str(), X_OK) == 0) found = candidate;
        if (not_executable.empty()) not_executable = candidate;
      }
      if (colon == std::string_view::npos) break;
      folders.remove_prefix(colon + 1);
    }
    if (found.empty()) found = not_executable;
    if (found.empty()) return Fail(kExitNotFound, name + ": not found in PATH");
  }
  if (auto checked = CheckFile(found, 0); !checked) return std::unexpected(checked.error());
  return found;
}

}  // namespace tracelift::offload

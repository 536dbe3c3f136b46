// Where the dynamic linker finds a library: the lists in the file that needs it, the cache that ldconfig makes, the
// standard directories. LD_LIBRARY_PATH and preloading belong to a running program and are left out. Private to jit/code.
//
// Sources: ld.so(8); glibc 2.36, sysdeps/generic/dl-cache.h, for the cache's format.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "jit/elf_file.h"

namespace tracelift::jit {

class LibrarySearch {
 public:
  LibrarySearch();

  /// The path of a file of this name; nullopt when there is none. `origin` is the folder of the file that needs it.
  std::optional<std::string> Find(const std::string& name, const ElfNeeds& of, const std::string& origin) const;

 private:
  std::map<std::string, std::string> cache_;
};

}  // namespace tracelift::jit

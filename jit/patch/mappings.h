// The mappings of this process, as /proc/self/maps tells them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "jit/code_reader.h"

namespace tracelift::jit {

struct Mapping {
  AddressRange range;
  int protection = 0;  // PROT_*
  std::string name;    // path, "[heap]", "[stack]", or empty
};

/// Ascending; empty when the file cannot be read.
std::vector<Mapping> ReadMappings();

/// PROT_* of the page at `address`, or nullopt when nothing is mapped there.
std::optional<int> ProtectionAt(const std::vector<Mapping>& mappings, uint64_t address);

}  // namespace tracelift::jit

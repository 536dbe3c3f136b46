// The stubs of a module's linkage table (PLT), through which calls of other modules go.
#pragma once

#include <cstdint>
#include <optional>

#include "jit/code_reader.h"

namespace tracelift::jit {

/// Where the stub at `address`, "[endbr64] [bnd] jmp [rip+x]", finds the function that it jumps to: the address of a
/// pointer. nullopt when there is no such stub. That the code looks so does not make the pointer part of a linkage table
/// (GOT): a function may jump through a variable in the same way. CodeReader::LinkedFunction knows.
std::optional<uint64_t> PointerOfLinkageStub(const CodeReader& reader, uint64_t address);

}  // namespace tracelift::jit

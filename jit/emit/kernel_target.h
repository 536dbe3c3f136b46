// Code generation for kernels. Private to jit/emit.
#pragma once

#include <llvm/IR/Module.h>

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace tracelift::jit {

/// The least that kernels are made for: compute capability 7.5 is the oldest that current drivers and assemblers take.
inline constexpr char kOldestGpu[] = "sm_75";

/// PTX text of the kernels in `module`, which is optimised for it: every operation rounds to nearest by itself, none is fused with
/// another, denormals are kept. Or what stands in the way: an instruction that GPUs have not.
std::expected<std::vector<uint8_t>, std::string> EmitPtx(llvm::Module& module, const std::string& architecture);

}  // namespace tracelift::jit

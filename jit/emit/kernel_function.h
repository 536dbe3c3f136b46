// From a chunk function to a kernel (jit/kernel.h), in a module of its own. Private to jit/emit.
#pragma once

#include <llvm/IR/Function.h>
#include <llvm/IR/Module.h>

#include <expected>
#include <memory>
#include <span>
#include <string>

#include "jit/emit/host_target.h"
#include "jit/emit/kernel_plan.h"
#include "jit/reduction.h"

namespace tracelift::jit {

/// A kernel for plan.kernel.target of the finished, scalar chunk function, which stays as it is. The module has the chunk function's
/// target. Decides how many results a thread does (Kernel::rows, columns). Fails where the function no longer has the form that was planned for.
std::expected<std::unique_ptr<llvm::Module>, std::string> MakeKernel(llvm::Function& chunk, KernelPlan& plan,
                                                                     std::span<const Reduction> reductions, Analyses& analyses);

}  // namespace tracelift::jit

// What a thread of a kernel does for one place of its grid, as a function: a pass of the chunk function, one iteration of each loop
// that is a dimension, on the copies of memory that a launch names. Private to jit/emit.
#pragma once

#include <llvm/IR/Function.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <array>
#include <memory>
#include <span>

#include "jit/emit/host_target.h"
#include "jit/emit/kernel_plan.h"
#include "jit/reduction.h"

namespace tracelift::jit {

inline constexpr unsigned kGlobalMemory = 1;  // address space of NVPTX

/// Reads the fields of a KernelLaunch, which stay as they are while a kernel runs.
class LaunchReader {
 public:
  LaunchReader(llvm::IRBuilder<>& builder, llvm::Value* launch, KernelTarget target) : builder_(builder), launch_(launch), target_(target) {}
  llvm::Value* Field(size_t offset, llvm::Type* type) const;
  llvm::Value* Number(size_t offset) const { return Field(offset, builder_.getInt64Ty()); }
  llvm::Value* Extent(size_t dimension) const { return Number(offsetof(KernelLaunch, extent) + dimension * sizeof(int64_t)); }
  /// An address that the launch has, as a pointer.
  llvm::Value* Pointer(size_t offset) const;

 private:
  llvm::IRBuilder<>& builder_;
  llvm::Value* launch_;
  const KernelTarget target_;
};

/// Reads what a launch tells, or the state at entry, and not memory of the program's.
inline bool IsOfLaunch(const llvm::Instruction& read) { return read.hasMetadata(llvm::LLVMContext::MD_invariant_load); }

struct ResultFunction {
  std::unique_ptr<llvm::Module> module;  // that it is in, alone
  /// i32 (ptr launch, i64 x kMaxGridDims, by dimension): kFlag*. What passes reduce is combined with the launch's partial results.
  llvm::Function* function = nullptr;
};

/// Of the finished, scalar chunk function, which stays as it is; nothing is optimised. Or why not.
std::expected<ResultFunction, std::string> MakeResultFunction(llvm::Function& chunk, const KernelPlan& plan,
                                                              std::span<const Reduction> reductions, Analyses& analyses);

}  // namespace tracelift::jit

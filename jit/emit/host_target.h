// This machine as LLVM's target, and the two pass pipelines. Private to jit/emit.
#pragma once

#include <llvm/Analysis/CGSCCPassManager.h>
#include <llvm/Analysis/LoopAnalysisManager.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/PassManager.h>
#include <llvm/Target/TargetMachine.h>

#include <expected>
#include <memory>
#include <string>
#include <vector>

namespace tracelift::jit {

/// All analysis managers of one compilation, registered with each other.
struct Analyses {
  explicit Analyses(llvm::TargetMachine* machine);
  llvm::LoopAnalysisManager loop;
  llvm::FunctionAnalysisManager function;
  llvm::CGSCCAnalysisManager cgscc;
  llvm::ModuleAnalysisManager module;
};

std::expected<std::unique_ptr<llvm::TargetMachine>, std::string> CreateHostMachine();

/// Of the machine's widest vectors.
int WidestVectorBits(const llvm::TargetMachine& machine);

/// Whether gathers are instructions that take less time than a load for each element.
bool GathersFast(const llvm::TargetMachine& machine);

/// Registers to SSA, lazily computed flags away, canonical loops: what analysis needs, nothing that moves memory.
void SimplifyForAnalysis(llvm::Function& function, Analyses& analyses);

/// The passes that make the difference for loops, or for what runs a few passes only (host_target.cc). Float calls (jit/lift/float_calls.h) are vectorised and become instructions.
void Optimise(llvm::Module& module, llvm::TargetMachine& machine);

/// Bits of the widest vectors that the module computes with or moves; 0: it has none.
int WidestVectorIn(const llvm::Module& module);

/// Relocatable ELF object of the module.
std::expected<std::vector<uint8_t>, std::string> EmitObject(llvm::Module& module, llvm::TargetMachine& machine);

}  // namespace tracelift::jit

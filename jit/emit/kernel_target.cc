#include "jit/emit/kernel_target.h"

#include <fmt/format.h>
#include <llvm/ADT/SmallString.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Target/TargetOptions.h>

#include <memory>

#include "jit/lift/float_calls.h"

extern "C" void LLVMInitializeNVPTXTargetInfo();
extern "C" void LLVMInitializeNVPTXTarget();
extern "C" void LLVMInitializeNVPTXTargetMC();
extern "C" void LLVMInitializeNVPTXAsmPrinter();

namespace tracelift::jit {
namespace {

constexpr char kTriple[] = "nvptx64-nvidia-cuda";
constexpr char kPtxVersion[] = "+ptx63";  // of compute capability 7.5; assemblers and drivers take older versions than their own

// What LLVM's own pipeline does for a loop, but for vectors: threads side by side are the vectors.
constexpr char kPasses[] =
    "sroa,early-cse<memssa>,infer-address-spaces,jump-threading,correlated-propagation,simplifycfg,instcombine<no-verify-fixpoint>,"
    "reassociate,loop-mssa(loop-instsimplify,loop-simplifycfg,licm<no-allowspeculation>,loop-rotate<header-duplication>,"
    "licm<allowspeculation>,simple-loop-unswitch<nontrivial;trivial>),simplifycfg,instcombine<no-verify-fixpoint>,"
    "loop(indvars,loop-deletion,loop-unroll-full),sroa,gvn,sccp,bdce,instcombine<no-verify-fixpoint>,adce,dse,"
    "loop-mssa(licm<allowspeculation>),loop-load-elim,loop-unroll<O3>,sroa,infer-address-spaces,gvn,instcombine<no-verify-fixpoint>,"
    "loop-mssa(licm<allowspeculation>),instsimplify,div-rem-pairs,simplifycfg";

// What the code generator would end the process for.
std::string ProblemIn(const llvm::Module& module) {
  for (const llvm::Function& function : module) {
    for (const llvm::Instruction& instruction : llvm::instructions(function)) {
      if (IsFloatCall(&instruction)) return "it computes with floats under another rounding mode than the usual one";
      const auto* intrinsic = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction);
      if (const auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction); call && !intrinsic) return "it calls a function";
      if (intrinsic && intrinsic->getCalledFunction()->getName().starts_with("llvm.x86."))
        return fmt::format("GPUs have no {}", intrinsic->getCalledFunction()->getName().drop_front(9).str());
      const bool divides = instruction.isIntDivRem();
      if (divides && instruction.getType()->getScalarSizeInBits() > 64) return "it divides numbers of 128 bits";
      if (instruction.getType()->isHalfTy() || instruction.getType()->isX86_FP80Ty()) return "it computes with floats of 16 or 80 bits";
    }
  }
  return "";
}

std::unique_ptr<llvm::TargetMachine> CreateGpuMachine(const std::string& architecture, std::string* error) {
  static const bool initialised = [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    return true;
  }();
  (void)initialised;
  const llvm::Target* target = llvm::TargetRegistry::lookupTarget(kTriple, *error);
  if (!target) return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(kTriple, architecture, kPtxVersion, options, llvm::Reloc::PIC_,
                                                                           std::nullopt, llvm::CodeGenOptLevel::Aggressive));
  if (!machine) *error = fmt::format("no target machine for {}", architecture);
  return machine;
}

void Optimise(llvm::Module& module, llvm::TargetMachine& machine) {
  llvm::PassBuilder builder(&machine);
  llvm::LoopAnalysisManager loop;
  llvm::FunctionAnalysisManager function;
  llvm::CGSCCAnalysisManager cgscc;
  llvm::ModuleAnalysisManager modules;
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(cgscc);
  builder.registerFunctionAnalyses(function);
  builder.registerLoopAnalyses(loop);
  builder.crossRegisterProxies(loop, function, cgscc, modules);
  llvm::FunctionPassManager passes;
  llvm::cantFail(builder.parsePassPipeline(passes, kPasses));
  for (llvm::Function& code : module) {
    if (!code.isDeclaration()) passes.run(code, function);
  }
}

}  // namespace

std::expected<std::vector<uint8_t>, std::string> EmitPtx(llvm::Module& module, const std::string& architecture) {
  if (std::string problem = ProblemIn(module); !problem.empty()) return std::unexpected(std::move(problem));
  std::string error;
  const std::unique_ptr<llvm::TargetMachine> machine = CreateGpuMachine(architecture, &error);
  if (!machine) return std::unexpected(error);
  module.setTargetTriple(kTriple);
  module.setDataLayout(machine->createDataLayout());
  for (llvm::Function& function : module) {
    for (const char* of_host : {"target-cpu", "target-features", "prefer-vector-width", "frame-pointer"}) function.removeFnAttr(of_host);
  }
  Optimise(module, *machine);
  if (std::string problem = ProblemIn(module); !problem.empty()) return std::unexpected(std::move(problem));
  llvm::SmallString<0> text;
  llvm::raw_svector_ostream stream(text);
  llvm::legacy::PassManager passes;
  if (machine->addPassesToEmitFile(passes, stream, nullptr, llvm::CodeGenFileType::AssemblyFile)) {
    return std::unexpected("LLVM was built without assembly output for NVIDIA GPUs");
  }
  passes.run(module);
  return std::vector<uint8_t>(text.begin(), text.end());
}

}  // namespace tracelift::jit

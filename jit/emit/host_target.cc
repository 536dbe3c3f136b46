#include "jit/emit/host_target.h"

#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/TargetLibraryInfo.h>
#include <llvm/ExecutionEngine/Orc/CompileUtils.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/MC/MCSubtargetInfo.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/TargetParser/SubtargetFeature.h>
#include <llvm/TargetParser/Triple.h>
#include <llvm/Transforms/InstCombine/InstCombine.h>
#include <llvm/Transforms/Scalar/ADCE.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/LoopPassManager.h>
#include <llvm/Transforms/Scalar/SROA.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>
#include <llvm/Transforms/Utils/LoopSimplify.h>

#include "jit/compiler.h"
#include "jit/emit/exit_values.h"
#include "jit/emit/join_ends.h"
#include "jit/emit/keep_results.h"
#include "jit/emit/narrow_phis.h"
#include "jit/emit/own_broadcasts.h"
#include "jit/emit/partial_writes.h"
#include "jit/emit/sink_nan_tests.h"
#include "jit/emit/straighten_loops.h"
#include "jit/lift/codegen_options.h"
#include "jit/lift/float_calls.h"

namespace tracelift::jit {
namespace {

constexpr char kTriple[] = "x86_64-pc-linux-gnu";

// Library functions LLVM may introduce calls to: only those the loader links (code_loader.cc).
void RegisterLibraryInfo(llvm::FunctionAnalysisManager& manager) {
  manager.registerPass([] {
    llvm::TargetLibraryInfoImpl known{llvm::Triple(kTriple)};
    known.disableAllFunctions();
    for (llvm::LibFunc function : {llvm::LibFunc_memcpy, llvm::LibFunc_memmove, llvm::LibFunc_memset}) {
      known.setAvailable(function);
    }
    return llvm::TargetLibraryAnalysis(known);
  });
}

}  // namespace

int WidestVectorBits(const llvm::TargetMachine& machine) {
  const llvm::MCSubtargetInfo& features = *machine.getMCSubtargetInfo();
  return features.checkFeatures("+avx512f") ? 512 : features.checkFeatures("+avx") ? 256 : 128;
}

bool GathersFast(const llvm::TargetMachine& machine) {
  const llvm::MCSubtargetInfo& features = *machine.getMCSubtargetInfo();
  return features.checkFeatures("+avx512f") || features.checkFeatures("+fast-gather");
}

std::string HostCpuName() { return llvm::sys::getHostCPUName().str(); }

std::string HostCpuFeatures() {
  llvm::SubtargetFeatures features;
  for (const auto& feature : llvm::sys::getHostCPUFeatures()) {
    if (feature.second) features.AddFeature(feature.first());
  }
  return features.getString();
}

Analyses::Analyses(llvm::TargetMachine* machine) {
  RegisterLibraryInfo(function);
  llvm::PassBuilder builder(machine);
  builder.registerModuleAnalyses(module);
  builder.registerCGSCCAnalyses(cgscc);
  builder.registerFunctionAnalyses(function);
  builder.registerLoopAnalyses(loop);
  builder.crossRegisterProxies(loop, function, cgscc, module);
}

std::expected<std::unique_ptr<llvm::TargetMachine>, std::string> CreateHostMachine() {
  static const bool initialised = [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    DisableUnsoundPasses();
    DisableSlowPasses();
    return true;
  }();
  (void)initialised;
  std::string error;
  const llvm::Target* target = llvm::TargetRegistry::lookupTarget(kTriple, error);
  if (!target) return std::unexpected(error);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;  // a fused multiply-add rounds once: other bits
  std::unique_ptr<llvm::TargetMachine> machine(
      target->createTargetMachine(kTriple, HostCpuName(), HostCpuFeatures(), options, llvm::Reloc::PIC_,
                                  llvm::CodeModel::Small, llvm::CodeGenOptLevel::Aggressive, /*JIT=*/true));
  if (!machine) return std::unexpected("no target machine for " + HostCpuName());
  return machine;
}

void SimplifyForAnalysis(llvm::Function& function, Analyses& analyses) {
  const auto clean = [](llvm::FunctionPassManager& passes) {
    passes.addPass(llvm::EarlyCSEPass());
    passes.addPass(llvm::InstCombinePass());
    passes.addPass(llvm::SimplifyCFGPass());
    // Registers that are dead at the header still flow round the nest through phis of each other; only a pass that takes
    // phis for dead until something needs them sees it.
    passes.addPass(llvm::ADCEPass());
  };
  llvm::FunctionPassManager first;
  first.addPass(llvm::SROAPass(llvm::SROAOptions::PreserveCFG));
  clean(first);
  clean(first);
  first.run(function, analyses.function);
  const auto clean_again = [&] {
    analyses.function.clear();
    llvm::FunctionPassManager again;
    clean(again);
    again.run(function, analyses.function);
  };
  const auto loops = [&]() -> llvm::LoopInfo& { return analyses.function.getResult<llvm::LoopAnalysis>(function); };
  const auto make_canonical = [&] {
    if (JoinLatches(loops())) analyses.function.clear();
    llvm::FunctionPassManager canonical;
    canonical.addPass(llvm::LoopSimplifyPass());
    canonical.run(function, analyses.function);
    analyses.function.clear();
  };
  const auto dominators = [&]() -> llvm::DominatorTree& {
    return analyses.function.getResult<llvm::DominatorTreeAnalysis>(function);
  };
  if (NarrowPhis(function)) clean_again();
  make_canonical();
  constexpr int kMostJoins = 16;  // one a loop; should cleaning ever undo one, it must not go on for ever
  for (int joins = 0; joins < kMostJoins && JoinEnds(loops(), dominators()); ++joins) {
    clean_again();
    make_canonical();
  }
  if (ReadUnwrittenPartsFromStart(loops())) {
    clean_again();
    make_canonical();
  }
  if (RewriteExitValues(function, loops(), analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function),
                        dominators())) {
    clean_again();
    make_canonical();
  }
}

// Flags and results that stay in one place are kept in registers.
static void PrepareChunk(llvm::Function& function, Analyses& analyses) {
  llvm::FunctionPassManager passes;
  passes.addPass(llvm::SROAPass(llvm::SROAOptions::PreserveCFG));
  passes.addPass(llvm::EarlyCSEPass());
  passes.addPass(llvm::LoopSimplifyPass());
  passes.run(function, analyses.function);
  KeepResultsInRegisters(function, analyses);
  passes = llvm::FunctionPassManager();
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LICMPass(llvm::LICMOptions()), /*UseMemorySSA=*/true));
  passes.run(function, analyses.function);
  analyses.function.clear();
  SinkNaNTests(function, analyses);
}

// LLVM's -O3 runs instcombine eleven times and many passes for what lifted loops have not got: calls to be inlined, objects, branches
// on what was just tested. These are the passes that make the difference for loops, each as often as it brings something: programs come out
// as fast (bench/programs_speed.py), in half the time.
constexpr char kModulePasses[] = "ipsccp,globalopt";
constexpr char kHotPasses[] =
    "sroa,early-cse<memssa>,jump-threading,correlated-propagation,simplifycfg,instcombine<no-verify-fixpoint>,simplifycfg,reassociate,"
    "loop-mssa(loop-instsimplify,loop-simplifycfg,licm<no-allowspeculation>,loop-rotate<header-duplication>,licm<allowspeculation>,"
    "simple-loop-unswitch<nontrivial;trivial>),"
    "simplifycfg,instcombine<no-verify-fixpoint>,"
    "loop(loop-idiom,indvars,loop-deletion,loop-unroll-full),"
    "sroa,gvn,sccp,bdce,instcombine<no-verify-fixpoint>,adce,dse,loop-mssa(licm<allowspeculation>),"
    "simplifycfg<hoist-common-insts;sink-common-insts>,"
    // vectors
    "loop(loop-rotate<header-duplication>,loop-deletion),loop-distribute,inject-tli-mappings,straighten-loops,loop-vectorize,"
    "infer-alignment,loop-load-elim,instcombine<no-verify-fixpoint>,"
    "simplifycfg<forward-switch-cond;switch-range-to-icmp;switch-to-lookup;no-keep-loops;hoist-common-insts;sink-common-insts>,"
    "slp-vectorizer,vector-combine,loop-unroll<O3>,sroa,instcombine<no-verify-fixpoint>,loop-mssa(licm<allowspeculation>),"
    "instsimplify,div-rem-pairs,simplifycfg";
// For a few passes of a slice.
constexpr char kColdPasses[] =
    "simplifycfg,sroa,early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm<allowspeculation>),gvn,dse,adce,"
    "simplifycfg";

void Optimise(llvm::Module& module, llvm::TargetMachine& machine) {
  OfferVectorForms(module);
  Analyses analyses(&machine);
  constexpr int kOperandsForAllLanes = 512;  // AVX-512
  for (llvm::Function& function : module) {
    if (function.isDeclaration()) continue;
    PrepareChunk(function, analyses);
    if (WidestVectorBits(machine) == kOperandsForAllLanes) ReadBroadcastsApart(function, kOperandsForAllLanes, analyses);
  }
  llvm::PassBuilder builder(&machine);
  const bool masks = machine.getMCSubtargetInfo()->checkFeatures("+avx512vl,+avx512bw");
  const auto add_own = [masks](llvm::StringRef name, llvm::FunctionPassManager& passes, llvm::ArrayRef<llvm::PassBuilder::PipelineElement>) {
    if (name != "straighten-loops") return false;
    passes.addPass(StraightenLoops(masks));
    return true;
  };
  builder.registerPipelineParsingCallback(add_own);
  llvm::ModulePassManager on_module;
  llvm::FunctionPassManager hot, cold;
  llvm::cantFail(builder.parsePassPipeline(on_module, kModulePasses));
  llvm::cantFail(builder.parsePassPipeline(hot, kHotPasses));
  llvm::cantFail(builder.parsePassPipeline(cold, kColdPasses));
  on_module.run(module, analyses.module);
  for (llvm::Function& function : module) {
    if (!function.isDeclaration()) (function.hasOptSize() ? cold : hot).run(function, analyses.function);
  }
  LowerFloatCalls(module, WidestVectorBits(machine));
}

int WidestVectorIn(const llvm::Module& module) {
  uint64_t widest = 0;
  for (const llvm::Function& function : module) {
    for (const llvm::Instruction& instruction : llvm::instructions(function)) {
      const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(instruction.getType());
      const bool of_numbers = vector && !vector->getElementType()->isIntegerTy(1) && !vector->getElementType()->isPointerTy();
      if (of_numbers) widest = std::max<uint64_t>(widest, vector->getPrimitiveSizeInBits().getFixedValue());
    }
  }
  return static_cast<int>(widest);
}

std::expected<std::vector<uint8_t>, std::string> EmitObject(llvm::Module& module, llvm::TargetMachine& machine) {
  llvm::orc::SimpleCompiler compile(machine);
  auto object = compile(module);
  if (!object) return std::unexpected(llvm::toString(object.takeError()));
  const llvm::StringRef bytes = (*object)->getBuffer();
  return std::vector<uint8_t>(bytes.bytes_begin(), bytes.bytes_end());
}

}  // namespace tracelift::jit

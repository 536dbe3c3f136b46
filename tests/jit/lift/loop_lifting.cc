#include "tests/jit/lift/loop_lifting.h"

#include <fmt/format.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/raw_ostream.h>

#include <cstdlib>
#include <cstring>
#include <set>

#include "tests/jit/lift/assembly.h"

namespace tracelift::jit {
namespace {

using LiftedFunction = int32_t (*)(const MachineState*, MachineState*, int64_t, int64_t, uint32_t*);

[[noreturn]] void Fail(const std::string& what) {
  fmt::print(stderr, "{}\n", what);
  std::abort();
}

struct LiftedLoop {
  std::unique_ptr<Assembly> assembly;
  std::unique_ptr<llvm::LLVMContext> context;
  std::unique_ptr<llvm::Module> module;
  LoopFacts facts;
  std::string rejection;
};

LiftedLoop LiftText(const llvm::orc::LLJIT& jit, const LoopCase& loop) {
  LiftedLoop result;
  std::string failure;
  result.assembly = std::make_unique<Assembly>(std::vector<std::string>{"@L: " + loop.text}, &failure);
  if (!failure.empty()) Fail(failure);
  auto function = DecodeCode(result.assembly->codes()[0]);
  if (!function) Fail(Describe(function.error()));
  const LoopId id = FirstLoop(**function);
  if (id == LoopId::kNone) Fail(loop.text + ": not a loop");
  auto facts = AnalyseLoop((*function)->decoded(), id);
  if (!facts) Fail(Describe(facts.error()));
  result.facts = *facts;
  result.context = std::make_unique<llvm::LLVMContext>();
  result.module = std::make_unique<llvm::Module>("loop", *result.context);
  result.module->setDataLayout(jit.getDataLayout());
  result.module->setTargetTriple(jit.getTargetTriple().str());
  auto lifted = LiftLoop(*result.module, (*function)->decoded(), *facts,
                         {.known = loop.known, .live_at_pause = RegisterSet::All(),
                          .upper_zero = loop.upper_zero}, "lifted");
  if (!lifted) {
    result.rejection = Describe(lifted.error());
    return result;
  }
  if (llvm::verifyModule(*result.module, &llvm::errs())) Fail("invalid IR");
  return result;
}

}  // namespace

LoopRun RunLoop(const LoopCase& loop) {
  std::string failure;
  std::unique_ptr<llvm::orc::LLJIT> jit = MakeJit(true, &failure);
  if (jit == nullptr) Fail(failure);
  LiftedLoop lifted = LiftText(*jit, loop);
  if (!lifted.rejection.empty()) Fail(lifted.rejection);
  if (llvm::Error error = jit->addIRModule({std::move(lifted.module), std::move(lifted.context)})) {
    Fail(llvm::toString(std::move(error)));
  }
  auto symbol = jit->lookup("lifted");
  if (!symbol) Fail(llvm::toString(symbol.takeError()));

  MachineState in{};
  for (const auto& [gpr, value] : loop.gpr) in.gpr[gpr] = value;
  in.rflags = loop.rflags;
  for (size_t i = 0; i < loop.slots.size(); ++i) std::memcpy(in.slot[i].bytes.data(), &loop.slots[i], 8);
  LoopRun run;
  run.state = in;
  run.slot_count = static_cast<int>(lifted.facts.slots.size());
  run.returned = symbol->toPtr<LiftedFunction>()(&in, &run.state, 0, loop.passes, &run.flags);
  std::memcpy(&run.first_slot, run.state.slot[0].bytes.data(), 8);
  return run;
}

std::string RejectionOf(const std::string& text) {
  std::string failure;
  std::unique_ptr<llvm::orc::LLJIT> jit = MakeJit(true, &failure);
  if (jit == nullptr) Fail(failure);
  return LiftText(*jit, {.text = text}).rejection;
}

LoopShapeText ShapeOf(const std::string& text) {
  std::string failure;
  std::unique_ptr<llvm::orc::LLJIT> jit = MakeJit(true, &failure);
  if (jit == nullptr) Fail(failure);
  LiftedLoop lifted = LiftText(*jit, {.text = text});
  if (!lifted.rejection.empty()) Fail(lifted.rejection);
  RunPasses(*lifted.module, "function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg,loop-simplify)");

  llvm::PassBuilder builder;
  llvm::FunctionAnalysisManager analyses;
  builder.registerFunctionAnalyses(analyses);
  llvm::Function& function = *lifted.module->getFunction("lifted");
  llvm::LoopInfo& loops = analyses.getResult<llvm::LoopAnalysis>(function);
  llvm::ScalarEvolution& evolution = analyses.getResult<llvm::ScalarEvolutionAnalysis>(function);
  if (loops.getTopLevelLoops().size() != 1) Fail("not one loop");
  llvm::Loop* loop = loops.getTopLevelLoops()[0];
  const auto print = [](const auto& value) {
    std::string printed;
    llvm::raw_string_ostream(printed) << value;
    return printed;
  };

  LoopShapeText shape;
  std::set<std::string> phis;
  for (llvm::PHINode& phi : loop->getHeader()->phis()) {
    const std::string name = phi.getName().split('.').first.str();
    if (phi.use_empty() || name == "pass") continue;
    const bool affine = evolution.isSCEVable(phi.getType()) && llvm::isa<llvm::SCEVAddRecExpr>(evolution.getSCEV(&phi));
    phis.insert(fmt::format("{}:{}:{}", name, print(*phi.getType()), affine ? "affine" : "carried"));
  }
  for (const std::string& phi : phis) shape.phis += (shape.phis.empty() ? "" : " ") + phi;
  llvm::SmallVector<llvm::BasicBlock*> exiting;
  loop->getExitingBlocks(exiting);
  for (llvm::BasicBlock* block : exiting) {
    const std::string count = print(*evolution.getExitCount(loop, block));
    if (count.find("%count") == std::string::npos) shape.trip_count = count;
  }
  for (llvm::BasicBlock* block : loop->blocks()) {
    for (llvm::Instruction& instruction : *block) {
      const llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction);
      if (pointer == nullptr) continue;
      const llvm::SCEV* offset = evolution.removePointerBase(evolution.getSCEV(const_cast<llvm::Value*>(pointer)));
      const bool affine = llvm::isa<llvm::SCEVAddRecExpr>(offset) || evolution.isLoopInvariant(offset, loop);
      shape.accesses += fmt::format("{}{} {} {}", shape.accesses.empty() ? "" : ", ", instruction.getOpcodeName(),
                                    print(*llvm::getLoadStoreType(&instruction)), affine ? "affine" : "other");
    }
  }
  return shape;
}

}  // namespace tracelift::jit

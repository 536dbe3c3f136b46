// The way from machine code to an artifact, in one page.

#include <fmt/format.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/IR/DebugInfo.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "jit/code/callees.h"
#include "jit/code/decoded_function.h"
#include "jit/code/entry_uses.h"
#include "jit/compiler.h"
#include "jit/emit/callee_frame.h"
#include "jit/emit/chunk_function.h"
#include "jit/emit/constant_reads.h"
#include "jit/emit/counted_exits.h"
#include "jit/emit/entry_facts.h"
#include "jit/emit/entry_loads.h"
#include "jit/emit/expand_fills.h"
#include "jit/emit/footprint_from_scev.h"
#include "jit/emit/host_target.h"
#include "jit/emit/jam_passes.h"
#include "jit/emit/kernel_function.h"
#include "jit/emit/kernel_plan.h"
#include "jit/emit/kernel_target.h"
#include "jit/emit/leading_part.h"
#include "jit/emit/loop_hints.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/pass_panels.h"
#include "jit/emit/pass_wavefront.h"
#include "jit/emit/rare_stores.h"
#include "jit/emit/relaxed_math.h"
#include "jit/emit/reread_carried.h"
#include "jit/emit/seen_footprint.h"
#include "jit/emit/short_loops.h"
#include "jit/emit/stepped_bounds.h"
#include "jit/emit/stored_cells.h"
#include "jit/emit/strict_bounds.h"
#include "jit/emit/undo_log.h"
#include "jit/emit/widen_loop.h"
#include "jit/lift/float_audit.h"
#include "jit/lift/lifter.h"
#include "jit/lift/unknown_value.h"

namespace tracelift::jit {
namespace {

class Stopwatch {
 public:
  uint64_t Lap() {
    const auto now = std::chrono::steady_clock::now();
    const auto lap = std::chrono::duration_cast<std::chrono::nanoseconds>(now - last_).count();
    last_ = now;
    return static_cast<uint64_t>(lap);
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Values below this are taken for sizes, strides and counts, which rarely change; pointers of position-independent
// programs lie above. A wrong guess costs a failed guard, nothing else.
constexpr uint64_t kLargestSize = uint64_t{1} << 31;

bool LooksLikeSize(uint64_t value) { return value < kLargestSize || value > ~kLargestSize; }

struct Specialisation {
  std::vector<KnownValue> known;
  std::vector<Guard> guards;
};

bool HasVectorOperand(const Instruction& instruction) {
  return std::ranges::any_of(instruction.operands, [](const ZydisDecodedOperand& operand) {
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) return false;
    const ZydisRegisterClass kind = ZydisRegisterGetClass(operand.reg.value);
    return kind == ZYDIS_REGCLASS_XMM || kind == ZYDIS_REGCLASS_YMM || kind == ZYDIS_REGCLASS_ZMM;
  });
}

// Slots that only vector instructions read: a zero there is a number, not a size.
std::vector<bool> SlotsOfVectors(const DecodedFunction& code, const LoopFacts& facts) {
  std::vector<bool> only(facts.slots.size(), true);
  for (int block : code.LiftedBlocks(facts.loop)) {
    for (int i = 0; i < code.blocks[block].count; ++i) {
      const Instruction& instruction = code.instructions[code.blocks[block].first + i];
      if (HasVectorOperand(instruction)) continue;
      for (int operand = 0; operand < static_cast<int>(instruction.info.operand_count); ++operand) {
        if (const int slot = SlotIndexOf(facts, instruction, operand); slot >= 0) only[static_cast<size_t>(slot)] = false;
      }
    }
  }
  return only;
}

Specialisation Specialise(const CodeReader& reader, const DecodedFunction& code, const LoopFacts& facts,
                          const MachineState& observed, const std::vector<Guard>& unsteady) {
  Specialisation result;
  const auto is_steady = [&](int gpr, int slot) {
    return std::none_of(unsteady.begin(), unsteady.end(),
                        [&](const Guard& guard) { return guard.gpr == gpr && guard.slot == slot; });
  };
  const std::vector<bool> of_vectors = SlotsOfVectors(code, facts);
  for (size_t i = 0; i < facts.slots.size(); ++i) {
    const Slot& slot = facts.slots[i];
    if (slot.written) continue;
    KnownValue known{.slot = static_cast<int16_t>(i)};
    if (slot.IsAbsolute() && slot.bytes <= 16 && reader.IsConstant(static_cast<uint64_t>(slot.displacement), slot.bytes)) {
      std::array<uint8_t, 16> bytes{};
      if (!reader.Read(static_cast<uint64_t>(slot.displacement), {bytes.data(), slot.bytes})) continue;
      std::memcpy(&known.low, bytes.data(), 8);
      std::memcpy(&known.high, bytes.data() + 8, 8);
      result.known.push_back(known);
    } else if (slot.bytes <= 8 && !of_vectors[i] && is_steady(-1, static_cast<int>(i))) {
      std::memcpy(&known.low, observed.slot[i].bytes.data(), slot.bytes);
      if (!LooksLikeSize(known.low)) continue;
      result.known.push_back(known);
      result.guards.push_back({.slot = static_cast<int16_t>(i), .value = known.low});
    }
  }
  const RegisterSet sizes = UsedFromEntry(code, facts.loop) - facts.clobbered;
  for (int i = 0; i < kGprCount; ++i) {
    if (i == kRsp || !sizes.HasGpr(i) || !is_steady(i, -1)) continue;
    if (!LooksLikeSize(observed.gpr[i])) continue;
    result.known.push_back({.gpr = static_cast<int8_t>(i), .low = observed.gpr[i]});
    result.guards.push_back({.gpr = static_cast<int8_t>(i), .value = observed.gpr[i]});
  }
  return result;
}

void SetAttributes(llvm::Function& function, FloatControl float_control) {
  function.addFnAttr("target-cpu", HostCpuName());
  function.addFnAttr("target-features", HostCpuFeatures());
  function.addFnAttr("prefer-vector-width", "512");
  function.addFnAttr("frame-pointer", "all");
  if (float_control != kDefaultFloatControl) {  // nothing is to be concluded from how denormals compare
    function.addFnAttr("denormal-fp-math", "dynamic,dynamic");
  }
  function.setDoesNotThrow();
  function.setUnnamedAddr(llvm::GlobalValue::UnnamedAddr::None);
  for (unsigned argument : {0u, 1u, 4u}) {
    function.addParamAttr(argument, llvm::Attribute::NoAlias);
    function.addParamAttr(argument, llvm::Attribute::NoCapture);
  }
  function.addParamAttr(0, llvm::Attribute::ReadOnly);
}

// Registers that hold addresses of locals since before the loop, which the lifted code takes for granted.
void RelyOnLocals(llvm::Function& chunk, const std::vector<SameAddress>& same) {
  llvm::IRBuilder<> builder(chunk.getEntryBlock().getTerminator());
  const auto at_entry = [&](int gpr) {
    const uint64_t offset = offsetof(MachineState, gpr) + sizeof(uint64_t) * static_cast<uint64_t>(gpr);
    llvm::Value* from = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), chunk.getArg(0), offset);
    return builder.CreateAlignedLoad(builder.getInt64Ty(), from, llvm::Align(8));
  };
  for (const SameAddress& is : same) {
    llvm::Value* offset = builder.getInt64(static_cast<uint64_t>(is.address.offset));
    llvm::Value* fact = builder.CreateICmpEQ(at_entry(is.gpr), builder.CreateAdd(at_entry(is.address.base), offset));
    RelyOn(fact, chunk.getEntryBlock().getTerminator());
  }
}

std::string PrintIr(const llvm::Module& module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module.print(stream, nullptr);
  return text;
}

struct AnalysedLoop {
  LoopShape shape;
  LoopFootprint footprint;
  llvm::ScalarEvolution* evolution = nullptr;
  std::vector<const llvm::BasicBlock*> headers;  // of footprint.program.loops
};

std::expected<AnalysedLoop, Rejection> AnalyseAsIs(llvm::Function& chunk, Analyses& analyses, const DecodedFunction& code,
                                                   const CodeReader& reader, const LoopFacts& facts, const MachineState& seen,
                                                   bool windows_allowed) {
  if (UsesUnknownValues(chunk)) return std::unexpected(Rejection{RejectionReason::kUnknownValue, facts.header, ""});
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(chunk);
  llvm::ScalarEvolution& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(chunk);
  MakeBoundsStrict(loops, evolution);
  CountSteps(loops, evolution);
  auto shape = AnalyseShape(chunk, loops, evolution, code);
  if (!shape) {
    if (shape.error().address == 0) shape.error().address = facts.header;
    return std::unexpected(shape.error());
  }
  AnalysedLoop result{std::move(*shape), {}, &evolution, {}};
  auto footprint = FootprintOf(result.shape, loops, evolution, facts, code, reader, seen, windows_allowed);
  if (!footprint) return std::unexpected(footprint.error());
  result.footprint = std::move(*footprint);
  for (const llvm::Loop* loop : NestOf(result.shape.loop)) result.headers.push_back(loop->getHeader());
  return result;
}

// Without a bound for an inner loop every entry will be declined.
bool KnowsAllTrips(const std::expected<AnalysedLoop, Rejection>& analysed) {
  const auto is_known = [](const LoopDim& loop) { return loop.backedge_taken != kNoExpr; };
  return analysed.has_value() && std::ranges::all_of(analysed->footprint.program.loops, is_known);
}

// No address is only known to lie somewhere.
bool IsExact(const AnalysedLoop& analysed) {
  return std::ranges::none_of(analysed.footprint.program.nodes, [](const ExprNode& node) { return node.op == ExprOp::kAny; });
}

bool NeedsWindows(const std::expected<AnalysedLoop, Rejection>& analysed) {
  return analysed ? analysed->footprint.has_endless_reads : analysed.error().reason == RejectionReason::kIndirectAddress;
}

// Small arrays that each pass fills for itself become values, tables that its loops over them read become constants.
void ResolveShortLoops(llvm::Function& chunk, Analyses& analyses, const DecodedFunction& code, const CodeReader& reader,
                       const ModuleBases& modules, LoopFacts& facts, std::vector<size_t>* in_memory, bool any_size, MachineState* seen) {
  if (!UnrollShortLoops(chunk, analyses, *seen, !any_size)) return;
  const auto simplified = [&] {
    analyses.function.clear();
    SimplifyForAnalysis(chunk, analyses);
    const llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(chunk);
    return loops.empty() ? nullptr : *loops.begin();
  };
  const auto evolution = [&]() -> llvm::ScalarEvolution& { return analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(chunk); };
  llvm::Loop* region = simplified();
  if (facts.pass_stack > 0) {  // arrays of callees
    PromoteCalleeFrame(chunk, facts.pass_stack, analyses);
    region = simplified();
  }
  if (region && FoldConstantReads(*region, evolution(), reader, modules, *seen)) region = simplified();
  if (region && MakeStoredCellsSlots(*region, evolution(), code, reader, &facts, in_memory, seen)) simplified();
}

// Trip count, carried values, footprint; of a loop that is too hard in general, for the state seen. Finds more slots.
std::expected<AnalysedLoop, Rejection> Analyse(llvm::Function& chunk, Analyses& analyses, const DecodedFunction& code,
                                               const CodeReader& reader, const ModuleBases& modules, LoopFacts& facts,
                                               std::vector<size_t>* in_memory, bool any_size, MachineState seen) {
  constexpr int kRounds = 5;  // a branch decided may make a register constant, which decides another
  SimplifyForAnalysis(chunk, analyses);
  if (facts.pass_stack > 0) {
    PromoteCalleeFrame(chunk, facts.pass_stack, analyses);
    SimplifyForAnalysis(chunk, analyses);
  }
  ResolveShortLoops(chunk, analyses, code, reader, modules, facts, in_memory, any_size, &seen);
  const auto leave_at_rare_stores = [&] {
    llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(chunk);
    if (!LeaveAtRareStores(loops, analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(chunk))) return;
    analyses.function.clear();
    SimplifyForAnalysis(chunk, analyses);
  };
  leave_at_rare_stores();
  bool windows_allowed = false;
  auto result = AnalyseAsIs(chunk, analyses, code, reader, facts, seen, windows_allowed);
  const auto analyse_again = [&] {
    analyses.function.clear();
    SimplifyForAnalysis(chunk, analyses);
    leave_at_rare_stores();
    return AnalyseAsIs(chunk, analyses, code, reader, facts, seen, windows_allowed);
  };
  if (!result && result.error().reason == RejectionReason::kCarriedValue && RereadCarriedValues(chunk, analyses)) {
    if (auto closer = analyse_again()) result = std::move(closer);
  }
  for (int round = 0; !(KnowsAllTrips(result) && IsExact(*result)) && round < kRounds; ++round) {
    llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(chunk);
    if (loops.empty()) break;
    llvm::ScalarEvolution& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(chunk);
    const bool found = !KnowsAllTrips(result) && MakeEntryLoadsSlots(**loops.begin(), evolution, reader, &facts.slots, &seen);
    // What is invariant is known better as a slot.
    const bool opens_windows = !found && !windows_allowed && NeedsWindows(result);
    windows_allowed |= opens_windows;
    const bool relies = !(result && IsExact(*result)) && !opens_windows && RelyOnObservedState(**loops.begin(), seen);
    const bool stuck = !found && !relies && !opens_windows;
    if (stuck && (result || result.error().reason != RejectionReason::kUnknownTripCount)) break;
    if (stuck && !FlagUncountedExits(chunk, loops, evolution)) break;
    auto closer = analyse_again();
    if (closer || result) result = std::move(closer);
  }
  if (result && ExpandFills(*result->shape.loop)) result = analyse_again();
  return result;  // or the reason against the loop as it is written
}

// Of which only data know the length, mostly a short one: each piece that unrolling leaves costs a wrong guess of the
// processor's (rows of a sparse matrix: 44 ns a row unrolled, 22 ns as they are).
void KeepDataLoopsWhole(const std::vector<LoopDim>& dims, const std::vector<const llvm::BasicBlock*>& headers, llvm::LoopInfo& loops) {
  for (size_t i = 0; i < dims.size(); ++i) {
    llvm::Loop* loop = loops.getLoopFor(headers[i]);
    if (dims[i].backedge_taken != kNoExpr || !loop || !loop->isInnermost()) continue;
    KeepWhole(*loop);
  }
}

// Vectors of more elements than the loop has iterations, with all that leads up to them: 25 times over for a pixel's neighbours.
void KeepShortLoopsPlain(const SeenFootprint& seen, const std::vector<const llvm::BasicBlock*>& headers, llvm::LoopInfo& loops) {
  constexpr int64_t kShort = 8;
  for (const llvm::BasicBlock* header : headers) {
    llvm::Loop* loop = loops.getLoopFor(header);
    if (!loop || !loop->isInnermost() || seen.LengthOf(header) == 0 || seen.LengthOf(header) > kShort) continue;
    KeepWhole(*loop);
    KeepScalar(*loop);
  }
}

// LLVM takes the loop's iterations for independent where it makes vectors of it.
void MarkParallel(llvm::Loop& loop) {
  llvm::LLVMContext& context = loop.getHeader()->getContext();
  llvm::MDNode* group = llvm::MDNode::getDistinct(context, {});
  for (llvm::BasicBlock* block : loop.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      if (instruction.mayReadOrWriteMemory()) instruction.setMetadata(llvm::LLVMContext::MD_access_group, group);
    }
  }
  llvm::Metadata* parallel[] = {llvm::MDString::get(context, "llvm.loop.parallel_accesses"), group};
  AddProperty(loop, llvm::MDNode::get(context, parallel));
}

// Iterations side by side and in another order than the original's, where that is faster and changes no result.
void Restructure(llvm::Function& chunk, Analyses& analyses, const llvm::TargetMachine& machine, const PanelPlan& plan,
                 bool reads_first, const Wavefront& wavefront, const LeadPlan& lead, const std::vector<AccessBy>& accesses_by, bool may_log, Reads reads,
                 SeenFootprint& seen, Artifact* artifact) {
  if (artifact->parts > 0) return;  // a kernel does all passes, and the chunk function one
  const VectorUnit vectors{WidestVectorBits(machine), GathersFast(machine)};
  const Panels panels = plan.width > 0 ? CutIntoPanels(chunk, analyses, plan) : Panels{};
  if (panels.group > 0) {
    seen.RelyOnPanels(plan.headers, plan.ordered);
    artifact->lanes = artifact->panel = plan.width;
    if (plan.ordered) {
      artifact->parts = static_cast<int>(plan.length / plan.width);
      return;
    }
    artifact->group = panels.group;
    artifact->batch = panels.group * seen.GroupsPerChunk(panels.group);
    artifact->packed = panels.packed;
    return;
  }
  if (reads_first) {
    llvm::Loop* region = RegionLoopOf(chunk, analyses);
    if (!region) return;
    MarkParallel(*region);
    seen.RelyOnReadsFirst();
    artifact->parts = 1;
    return;
  }
  if (wavefront.lanes > 0 && RunAsWavefront(chunk, analyses, wavefront)) {
    seen.RelyOnWavefront(wavefront);
    artifact->lanes = artifact->group = artifact->batch = wavefront.lanes;
    artifact->parts = 1;
    return;
  }
  if (lead.header) {
    const int group = RunLeadFirst(chunk, analyses, lead);
    if (group == 0) return;
    seen.RelyOnLead(lead.lead);
    artifact->may_flag |= kFlagUnlike;
    artifact->group = artifact->batch = group;
    artifact->parts = 1;
    return;
  }
  const auto may_widen = [&](const llvm::BasicBlock* header) { return seen.MayWiden(header); };
  const bool may_have_lanes = !artifact->plain;
  // The log of a row is no row across passes.
  UndoLog log;
  if (may_log && IsRedoneByChunk(*artifact) && (artifact->may_flag & kFlagNaN)) {
    log = LogWrites(chunk, analyses, seen, accesses_by, may_have_lanes && GainsByWidening(chunk, analyses, vectors, may_widen));
    artifact->logged = log.logged;
  }
  const WidenedLoop widened = may_have_lanes ? WidenLoop(chunk, analyses, vectors, may_widen, reads) : WidenedLoop{};
  artifact->lanes = widened.lanes;
  if (widened.lanes > 0) seen.RelyOnWidened(widened.header);
  if (widened.passes) {
    artifact->group = widened.lanes;
  } else if (JamPasses(chunk, analyses)) {
    artifact->group = kJammedPasses;
  }
  artifact->batch = artifact->group;
  if (log.undo) UndoWhenAsked(chunk, log);
}

std::expected<Kernel, std::string> CompileKernel(llvm::Function& chunk, KernelPlan& plan, std::span<const Reduction> reductions,
                                                 Analyses& analyses, llvm::TargetMachine& machine) {
  auto module = MakeKernel(chunk, plan, reductions, analyses);
  if (!module) return std::unexpected(module.error());
  llvm::StripDebugInfo(**module);
  std::string problem;
  llvm::raw_string_ostream problem_stream(problem);
  if (llvm::verifyModule(**module, &problem_stream)) return std::unexpected(problem);
  Kernel kernel = plan.kernel;
  std::expected<std::vector<uint8_t>, std::string> code;
  if (kernel.target == KernelTarget::kPtx) {
    code = EmitPtx(**module, kernel.architecture);
  } else {
    Optimise(**module, machine);
    code = EmitObject(**module, machine);
  }
  if (!code) return std::unexpected(code.error());
  kernel.code = std::move(*code);
  return kernel;
}

}  // namespace

// No operand is there.
constexpr Slot kNowhere{.fs = true, .displacement = INT64_MIN};

// As memory are lifted the slots of `in_memory`; others are added that should have been.
static std::expected<Artifact, Rejection> Compile(const CodeReader& reader, const FunctionCode& function, LoopId loop,
                                                  const MachineState& captured, const CompileOptions& options,
                                                std::vector<size_t>* in_memory) {
  const DecodedFunction& code = function.decoded();
  auto facts = AnalyseLoop(code, loop);
  if (!facts) return std::unexpected(facts.error());
  const std::vector<Slot> slots = facts->slots;
  for (size_t slot : *in_memory) facts->slots[slot].written = true;  // so that nothing is concluded from their values
  const auto failed = [&](std::string detail) {
    return std::unexpected(Rejection{RejectionReason::kCompilerFailed, facts->header, std::move(detail)});
  };
  const auto no_kernel = [&](std::string why) {
    return std::unexpected(Rejection{RejectionReason::kNoKernel, facts->header, std::move(why)});
  };
  auto machine = CreateHostMachine();
  if (!machine) return failed(machine.error());

  Artifact artifact;
  artifact.header = facts->header;
  artifact.target_cpu = HostCpuName();
  artifact.target_features = HostCpuFeatures();
  artifact.live_at_header = facts->live_at_header;
  artifact.comparable_at_header = facts->comparable_at_header;
  artifact.written = facts->written;
  artifact.pass_stack = facts->pass_stack;
  artifact.symbol = "tl_chunk";

  // What the chunk gets: the registers and slots captured, and where the code's files begin.
  const ModuleBases modules = ModuleBases::Of(function, reader);
  MachineState observed = captured;
  observed.module_base = artifact.module_bases = modules.bases();

  // Lift: the loop as IR over the machine state, sizes seen at entry folded in as constants.
  Stopwatch watch;
  const Specialisation special = Specialise(reader, code, *facts, observed, options.unsteady);
  artifact.guards = special.guards;
  const FloatControl float_control = FloatControlOf(observed.mxcsr);
  const bool relaxed = options.relaxed && RoundsToNearest(float_control);  // whether denormals are flushed is up to MXCSR then
  llvm::LLVMContext context;
  llvm::Module module(artifact.symbol, context);
  module.setTargetTriple((*machine)->getTargetTriple().str());
  module.setDataLayout((*machine)->createDataLayout());
  for (size_t slot : *in_memory) facts->slots[slot] = kNowhere;
  auto lifted = LiftLoop(module, code, *facts, {.known = special.known, .live_at_pause = facts->live_at_header, .same = facts->same_at_header,
                          .float_control = relaxed ? kDefaultFloatControl : float_control, .relaxed = relaxed, .modules = modules},
                         artifact.symbol);
  if (!lifted) return std::unexpected(lifted.error());
  facts->slots = slots;
  llvm::Function& chunk = **lifted;
  RelyOnLocals(chunk, facts->same_at_header);
  if (DependsOnFloatEnvironment(chunk)) {
    if (TrapsFloats(observed.mxcsr)) {
      return std::unexpected(Rejection{RejectionReason::kFloatEnvironment, facts->header, DescribeFloatEnvironment(observed.mxcsr)});
    }
    artifact.float_control = float_control;
    artifact.relaxed = relaxed;
  }
  artifact.times.lift_ns = watch.Lap();

  // Analyse: trip count, carried values, footprint.
  MarkEnds(chunk, *facts);
  SetAttributes(chunk, float_control);
  {
    Analyses analyses(machine->get());
    auto analysed = Analyse(chunk, analyses, code, reader, modules, *facts, in_memory, options.any_size, observed);
    if (!analysed) return std::unexpected(analysed.error());
    artifact.footprint = std::move(analysed->footprint.program);
    artifact.times.analyse_ns = watch.Lap();

    // From here on the function is a chunk: counted passes, no exits.
    CountExits(analysed->footprint.dividing, *analysed->evolution);
    KeepDataLoopsWhole(artifact.footprint.loops, analysed->headers, analyses.function.getResult<llvm::LoopAnalysis>(chunk));
    if (!options.any_size && float_control == kDefaultFloatControl) LeaveOutFactorsOfOne(*analysed->shape.loop, observed);
    SeenFootprint seen(artifact.footprint, analysed->headers, observed);
    seen.SeparateMemories(chunk, analysed->footprint.accesses_by);
    KeepShortLoopsPlain(seen, analysed->headers, analyses.function.getResult<llvm::LoopAnalysis>(chunk));
    artifact.plain = options.plain || options.kernel != KernelTarget::kNone;
    PanelPlan plan;
    if (!options.any_size && !artifact.plain) {
      plan = PlanPanels(*analysed->shape.loop, analyses.function.getResult<llvm::LoopAnalysis>(chunk), *analysed->evolution, seen,
                        WidestVectorBits(**machine));
    }
    const bool reads_first = !artifact.plain && seen.ReadsComeFirst(*analysed->shape.loop, analysed->footprint.accesses_by);
    Wavefront wavefront;
    if (plan.width == 0 && !reads_first && !artifact.plain) {
      wavefront = PlanWavefront(*analysed->shape.loop, *analysed->evolution, seen, analysed->footprint.accesses_by, observed,
                                WidestVectorBits(**machine));
    }
    LeadPlan lead;
    if (plan.width == 0 && !reads_first && wavefront.lanes == 0 && !artifact.plain) {
      lead = PlanLead(*analysed->shape.loop, *analysed->evolution, seen, analysed->footprint.accesses_by);
    }
    std::optional<KernelPlan> kernel;
    if (options.kernel != KernelTarget::kNone) {
      if (artifact.float_control && *artifact.float_control != kDefaultFloatControl)
        return no_kernel("it computes with floats under another rounding mode than the usual one, or flushes denormals");
      auto planned = PlanKernel(analysed->shape, analyses.function.getResult<llvm::LoopAnalysis>(chunk), *analysed->evolution,
                                analysed->footprint, seen);
      if (!planned) return no_kernel(planned.error());
      kernel = std::move(*planned);
      kernel->kernel.target = options.kernel;
      if (kernel->kernel.ordered) artifact.parts = 2;  // no part of the passes can be done without the others
      if (options.kernel == KernelTarget::kPtx) kernel->kernel.architecture = kOldestGpu;
    }
    // Each pass would have to wait for the one before it: the loops inside may do better, and sooner.
    const bool has_a_way = plan.ordered || reads_first || wavefront.lanes > 0 || lead.header || (kernel && kernel->kernel.ordered);
    const bool is_nest = !analysed->shape.loop->isInnermost();
    if (const auto where = is_nest && !has_a_way ? seen.WhereEachMeetsTheNext() : std::nullopt) {
      return std::unexpected(Rejection{RejectionReason::kDependentIterations, *where, ""});
    }
    if (artifact.relaxed) {
      ComparableFloats floats = ComparableFloatsOf(chunk, analysed->shape, artifact.footprint.slots.size());
      artifact.float_slots = std::move(floats.slots);
      for (int vector = 0; vector < kVectorCount; ++vector) {
        if (!floats.sums.HasVector(vector)) artifact.comparable_at_header.RemoveVector(vector);
      }
    }
    const ChunkTraits traits = MakeChunkFunction(chunk, analysed->shape, *analysed->evolution, analysed->footprint.table_reads,
                                                  analysed->footprint.window_reads, lead.loop);
    artifact.may_flag = traits.may_flag;
    artifact.can_seek = traits.can_seek;
    artifact.reductions = traits.reductions;
    if (kernel) {
      if (artifact.may_flag & kFlagLeft) return no_kernel("it ends where it finds something");
      auto compiled = CompileKernel(chunk, *kernel, artifact.reductions, analyses, **machine);
      if (!compiled) return no_kernel(compiled.error());
      artifact.kernel = std::move(*compiled);
    }
    Restructure(chunk, analyses, **machine, plan, reads_first, wavefront, lead, analysed->footprint.accesses_by, options.may_log && !kernel,
                traits.reads_rows ? Reads::kOfLanesThere : Reads::kOfAllLanes, seen, &artifact);
    if (lead.header && artifact.parts == 0) {  // its code has no such form after all
      return std::unexpected(Rejection{RejectionReason::kDependentIterations, seen.WhereEachMeetsTheNext().value_or(facts->header), ""});
    }
    artifact.reliance = seen.reliance();
  }
  llvm::StripDebugInfo(module);
  std::string problem;
  llvm::raw_string_ostream problem_stream(problem);
  if (llvm::verifyModule(module, &problem_stream)) return failed(problem);
  Optimise(module, **machine);
  artifact.vector_bits = std::min(WidestVectorIn(module), WidestVectorBits(**machine));
  if (artifact.relaxed) artifact.relaxations = RelaxationsOf(module, artifact.reductions);
  if (options.keep_ir) artifact.ir = PrintIr(module);
  artifact.times.optimise_ns = watch.Lap();

  auto object = EmitObject(module, **machine);
  if (!object) return failed(object.error());
  artifact.object = std::move(*object);
  artifact.times.emit_ns = watch.Lap();
  return artifact;
}

std::expected<Artifact, Rejection> CompileLoop(const CodeReader& reader, const FunctionCode& function, LoopId loop,
                                               const MachineState& observed, const CompileOptions& options) {
  try {
    std::vector<size_t> in_memory;
    auto outcome = Compile(reader, function, loop, observed, options, &in_memory);
    // Slots that turn out to be elements of small arrays: as variables, they would be others than the array's.
    return in_memory.empty() ? std::move(outcome) : Compile(reader, function, loop, observed, options, &in_memory);
  } catch (const std::exception& surprise) {  // a mistake of ours must not end the program
    const uint64_t header = function.loops()[static_cast<size_t>(loop)].header;
    return std::unexpected(Rejection{RejectionReason::kCompilerFailed, header, surprise.what()});
  }
}

std::shared_ptr<const FunctionCode> WithCallees(const CodeReader& reader, const FunctionCode& function, LoopId loop) {
  return SpliceCallees(reader, function, loop, &IsSupported);
}

std::expected<LoopPreview, Rejection> PreviewLoop(const FunctionCode& function, LoopId loop) {
  const DecodedFunction& code = function.decoded();
  auto facts = AnalyseLoop(code, loop);
  if (!facts) return std::unexpected(facts.error());
  for (int block : code.LiftedBlocks(loop)) {
    for (int i = 0; i < code.blocks[block].count; ++i) {
      const Instruction& instruction = code.instructions[code.blocks[block].first + i];
      if (!IsSupported(instruction)) {
        return std::unexpected(Rejection{RejectionReason::kUnsupportedInstruction, instruction.address,
                                         Disassemble(instruction)});
      }
    }
  }
  return LoopPreview{facts->slots, facts->live_at_header, facts->written, UsedFromEntry(code, loop)};
}

}  // namespace tracelift::jit

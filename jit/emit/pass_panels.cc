#include "jit/emit/pass_panels.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <algorithm>

#include "jit/artifact.h"
#include "jit/emit/cut_loops.h"
#include "jit/emit/entry_facts.h"
#include "jit/emit/jam_passes.h"
#include "jit/emit/lane_code.h"
#include "jit/emit/loop_shape.h"
#include "jit/emit/packed_reads.h"
#include "jit/emit/panel_function.h"
#include "jit/emit/pass_groups.h"
#include "jit/emit/triangle_panels.h"
#include "jit/emit/wide_loop.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };
constexpr int64_t kFewestPanels = 4;

class Planner {
 public:
  Planner(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution, const SeenFootprint& seen,
          int vector_bits)
      : region_(region), loops_(loops), evolution_(evolution), cut_(region, loops, evolution, seen, Lengths::kSteady), vector_bits_(vector_bits) {}

  const CutLoops& cut() const { return cut_; }

  // How many elements a vector has; 0 when a loop cannot be cut.
  int VectorLength(const std::vector<llvm::Loop*>& cut, bool ordered) const {
    unsigned widest = 0;
    for (llvm::Loop* loop : cut) {
      if (!HasOneEnd(*loop, region_) || cut_.HandsOnValues(*loop)) return 0;
      const std::optional<LaneValues> values = LaneValues::Of(*loop, loops_, evolution_);
      llvm::IRBuilder<> builder(region_.getHeader()->getContext());
      if (!values || values->IsLinear(loop) || KeepsValues(*loop, *values) ||
          !LaneCode(*values, *loop, 1, builder).CanEmit())
        return 0;
      for (llvm::BasicBlock* block : loop->blocks()) {
        for (llvm::Instruction& instruction : *block) {
          const llvm::Value* pointer = llvm::getLoadStorePointerOperand(&instruction);
          if (!pointer) continue;
          llvm::Type* type = llvm::getLoadStoreType(&instruction);
          const auto bits = static_cast<unsigned>(type->getPrimitiveSizeInBits());
          if (type->isVectorTy() || (bits != 32 && bits != 64)) return 0;
          const LaneValue address = values->Of(pointer);
          if (address.kind == LaneKind::kVarying) return 0;
          const bool in_a_row = address.kind == LaneKind::kAffine && address.stride == bits / 8;
          const bool apart = address.kind == LaneKind::kAffine && !in_a_row;
          // Lanes that lie apart are copied side by side ahead of the passes, if they are all the same for them.
          if (apart && (ordered || (llvm::isa<llvm::StoreInst>(instruction) && loops_.getLoopFor(block) != loop))) return 0;
          if (address.kind == LaneKind::kAffine) widest = std::max(widest, bits);
        }
      }
    }
    return widest == 0 ? 0 : vector_bits_ / static_cast<int>(widest);
  }

  // Counts the loop's iterations up to `length`, relying on that being its length.
  void FixLength(llvm::Loop& loop, int64_t length) {
    const llvm::SCEV* taken = evolution_.getExitCount(&loop, loop.getLoopLatch());
    if (llvm::isa<llvm::SCEVConstant>(taken)) return;
    llvm::Instruction* ahead = region_.getLoopPreheader()->getTerminator();
    llvm::SCEVExpander expander(evolution_, region_.getHeader()->getModule()->getDataLayout(), "length");
    llvm::Value* real = expander.expandCodeFor(taken, taken->getType(), ahead);
    expander.clear();
    llvm::IRBuilder<> builder(ahead);
    RelyOn(builder.CreateICmpEQ(real, llvm::ConstantInt::get(real->getType(), static_cast<uint64_t>(length - 1))),
           ahead);
    CountUpTo(loop, builder.getInt64(static_cast<uint64_t>(length)), EndOf(loop), builder);
    evolution_.forgetLoop(&loop);
  }

  bool CanFix(llvm::Loop& loop) const {
    llvm::SCEVExpander expander(evolution_, region_.getHeader()->getModule()->getDataLayout(), "length");
    return expander.isSafeToExpandAt(evolution_.getExitCount(&loop, loop.getLoopLatch()),
                                     region_.getLoopPreheader()->getTerminator());
  }

 private:
  bool KeepsValues(const llvm::Loop& loop, const LaneValues& values) const {
    return llvm::any_of(loop.getHeader()->phis(), [&](llvm::PHINode& phi) { return values.IsKept(&phi) && cut_.IsNeeded(phi); });
  }

  llvm::Loop& region_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  CutLoops cut_;
  int vector_bits_;
};

// All passes of the chunk in one panel after the other; `rest` does what is no whole panel, if anything.
void DispatchPanels(llvm::Function& function, llvm::Function& panel, llvm::Function* rest, llvm::Function& single,
                    int group, int64_t length, int64_t width) {
  const auto run = [&](llvm::IRBuilder<>& builder, llvm::Value* passes, llvm::Value* out) {
    const auto call = [&](llvm::Function& code, llvm::Value* from) {
      builder.CreateCall(&code,
                         {function.getArg(kIn), out, function.getArg(kFirst), passes, function.getArg(kFlags), from});
    };
    llvm::BasicBlock* before = builder.GetInsertBlock();
    llvm::BasicBlock* panels = llvm::BasicBlock::Create(function.getContext(), "panels", &function);
    llvm::BasicBlock* after = llvm::BasicBlock::Create(function.getContext(), "after", &function);
    builder.CreateBr(panels);
    builder.SetInsertPoint(panels);
    llvm::PHINode* from = builder.CreatePHI(builder.getInt64Ty(), 2);
    from->addIncoming(builder.getInt64(0), before);
    call(panel, from);
    llvm::Value* step = builder.getInt64(static_cast<uint64_t>(width));
    llvm::Value* next = builder.CreateAdd(from, step, "", /*HasNUW=*/true, /*HasNSW=*/true);
    from->addIncoming(next, panels);
    llvm::Value* whole = builder.getInt64(static_cast<uint64_t>(length / width * width));
    builder.CreateCondBr(builder.CreateICmpEQ(next, whole), after, panels);
    builder.SetInsertPoint(after);
    if (rest) call(*rest, whole);
  };
  DispatchGroups(function, single, group, GroupState::kNotLeft, run);
}

// The part of the panels that the caller asks for, all passes in each; `rest` goes with the last. Whoever asks for the state
// after the passes gets it from single ones.
void DispatchParts(llvm::Function& function, llvm::Function& panel, llvm::Function* rest, llvm::Function& single,
                   const PanelPlan& plan) {
  function.deleteBody();
  function.setLinkage(llvm::GlobalValue::ExternalLinkage);
  llvm::LLVMContext& context = function.getContext();
  const auto block = [&](const char* name) { return llvm::BasicBlock::Create(context, name, &function); };
  llvm::BasicBlock *entry = block("entry"), *state = block("state"), *share = block("share"), *panels = block("panels"),
                   *done = block("done"), *tail = block("tail"), *end = block("end");
  llvm::IRBuilder<> builder(entry);
  llvm::Value *in = function.getArg(kIn), *out = function.getArg(kOut), *first = function.getArg(kFirst),
              *count = function.getArg(kCount), *result = function.getArg(kFlags);
  builder.CreateCondBr(builder.CreateIsNull(out), share, state);
  builder.SetInsertPoint(state);
  builder.CreateCall(&single, {in, out, first, count, result});
  builder.CreateBr(end);

  builder.SetInsertPoint(share);
  const auto field = [&](size_t offset) {
    llvm::Value* at = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), result, offset);
    return builder.CreateZExt(builder.CreateAlignedLoad(builder.getInt32Ty(), at, llvm::Align(4)), builder.getInt64Ty());
  };
  llvm::Value *part = field(offsetof(ChunkResult, part)), *parts = field(offsetof(ChunkResult, parts));
  llvm::Value* all = builder.getInt64(static_cast<uint64_t>(plan.length / plan.width));
  llvm::Value* width = builder.getInt64(static_cast<uint64_t>(plan.width));
  llvm::Value* next_part = builder.CreateAdd(part, builder.getInt64(1));
  const auto begin_of = [&](llvm::Value* of) {
    return builder.CreateMul(builder.CreateUDiv(builder.CreateMul(all, of), parts), width);
  };
  llvm::Value *begin = begin_of(part), *behind = begin_of(next_part);
  builder.CreateCondBr(builder.CreateICmpULT(begin, behind), panels, done);

  builder.SetInsertPoint(panels);
  llvm::Value* no_state = llvm::ConstantPointerNull::get(builder.getPtrTy());
  const auto call = [&](llvm::Function& code, llvm::Value* from) {
    builder.CreateCall(&code, {in, no_state, first, count, result, from});
  };
  llvm::PHINode* from = builder.CreatePHI(builder.getInt64Ty(), 2);
  from->addIncoming(begin, share);
  call(panel, from);
  llvm::Value* next = builder.CreateAdd(from, width, "", /*HasNUW=*/true, /*HasNSW=*/true);
  from->addIncoming(next, panels);
  builder.CreateCondBr(builder.CreateICmpULT(next, behind), panels, done);

  builder.SetInsertPoint(done);
  builder.CreateCondBr(builder.CreateICmpEQ(next_part, parts), tail, end);
  builder.SetInsertPoint(tail);
  if (rest) call(*rest, behind);
  builder.CreateBr(end);
  builder.SetInsertPoint(end);
  builder.CreateRet(llvm::Constant::getNullValue(function.getReturnType()));
}

// As many vectors of each result as fill the arithmetic units; where results wait for each other from pass to pass, more.
int WidthOf(int vector_length, int64_t length, bool ordered) {
  int width = 2 * vector_length;
  const int most = 8 * vector_length;
  constexpr int64_t kPanelsInOrder = 16;
  while (ordered && width > 0 && width < most && length >= kPanelsInOrder * 2 * width) width *= 2;
  return width;
}

}  // namespace

PanelPlan PlanPanels(llvm::Loop& region, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution,
                     const SeenFootprint& seen, int vector_bits) {
  // The passes run once for each panel: what they carry must be counters, or matter at their end only.
  for (llvm::PHINode& phi : region.getHeader()->phis()) {
    if (!IsRecurrence(phi, &region, evolution) && !KeptValueOf(&phi, &region)) return {};
  }
  const bool ordered = seen.PassesMeet();
  Planner planner(region, loops, evolution, seen, vector_bits);
  for (llvm::Loop* loop : region.getLoopsInPreorder()) {
    const int64_t length = planner.cut().LengthOf(*loop);
    if (length == 0) continue;
    const bool grows = planner.cut().Grows(*loop);
    if (grows && ordered) continue;
    const std::vector<llvm::Loop*> cut = planner.cut().LoopsWith(*loop);
    const int width = WidthOf(cut.empty() ? 0 : planner.VectorLength(cut, ordered), length, ordered);
    // Something must be done over and over to a panel: a loop around a cut one, or inside.
    const bool reused =
        llvm::any_of(cut, [&](llvm::Loop* one) { return !one->isInnermost() || one->getParentLoop() != &region; });
    if (width == 0 || !(reused || ordered) || length < kFewestPanels * width) continue;
    if (!grows && !llvm::all_of(cut, [&](llvm::Loop* one) { return planner.CanFix(*one); })) continue;
    PanelPlan plan{.width = width, .length = length, .ordered = ordered, .grows = grows, .headers = {}};
    for (llvm::Loop* one : cut) plan.headers.push_back(one->getHeader());
    if (!(ordered ? seen.MayCutInOrder(plan.headers) : seen.MayCut(plan.headers))) continue;
    for (llvm::Loop* one : cut) {
      if (!grows) planner.FixLength(*one, length);
    }
    return plan;
  }
  return {};
}

Panels CutIntoPanels(llvm::Function& function, Analyses& analyses, const PanelPlan& plan) {
  llvm::Loop* region = RegionLoopOf(function, analyses);
  if (!region) return {};
  if (plan.grows) {
    llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
    llvm::Loop* first = loops.getLoopFor(plan.headers.front());
    auto& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(function);
    if (!first || !jit::Grows(*first, *region, evolution)) return {};
  }
  PanelFunction panel(function, plan.headers, ".panel", analyses);
  if (!panel.CanWiden(plan.grows)) {
    panel.function().eraseFromParent();
    return {};
  }
  panel.Widen(static_cast<unsigned>(plan.width));
  OpenLoopsOfOneIteration(panel.function(), analyses);
  int group = 1, packed = 0;
  if (!plan.ordered) {
    group = JamInPlace(panel.function(), analyses) ? kJammedPasses : 1;
    const PackedReads reads = PackReads(panel.function(), analyses);
    if (reads.gathers_left > 0) {
      panel.function().eraseFromParent();
      return {};
    }
    packed = reads.redirected;
    if (group > 1) KeepLoopsWhole(panel.function(), analyses);
  }
  std::optional<PanelFunction> rest;
  if (plan.grows || plan.length % plan.width != 0) rest.emplace(function, plan.headers, ".rest", analyses);
  if (plan.grows) {
    rest->RestrictToPart(plan.width);
  } else if (rest) {
    rest->Restrict(plan.length % plan.width);
  }
  llvm::Function* single = CloneAs(function, ".single");
  // For a few passes of a slice: they are not worth the time that compilers take to unroll and widen a nest.
  for (const auto kind : {llvm::Attribute::OptimizeForSize, llvm::Attribute::NoInline}) single->addFnAttr(kind);
  if (plan.grows) {
    llvm::Function* length = MakeLengthFunction(function, plan.headers.front(), analyses);
    DispatchTriangle(function, {&panel.function(), &rest->function(), length, single, group, plan.width});
    analyses.function.clear();
    return {.group = group, .packed = packed};
  }
  if (plan.ordered) {
    DispatchParts(function, panel.function(), rest ? &rest->function() : nullptr, *single, plan);
    analyses.function.clear();
    return {.group = 1};
  }
  DispatchPanels(function, panel.function(), rest ? &rest->function() : nullptr, *single, group, plan.length,
                 plan.width);
  analyses.function.clear();
  return {.group = group, .packed = packed};
}

}  // namespace tracelift::jit

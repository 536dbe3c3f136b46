#include "jit/emit/loop_shape.h"

#include <fmt/format.h>
#include <llvm/Analysis/CFG.h>
#include <llvm/Analysis/LoopIterator.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/DebugLoc.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/PatternMatch.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <algorithm>
#include <set>

#include "jit/artifact.h"
#include "jit/emit/alternating_values.h"
#include "jit/emit/entry_facts.h"
#include "jit/emit/extended_counters.h"
#include "jit/emit/placed_extremes.h"
#include "jit/emit/settled_state.h"

namespace tracelift::jit {
namespace {

llvm::FunctionCallee Marker(llvm::Module& module, const char* name) {
  auto* type = llvm::FunctionType::get(llvm::Type::getVoidTy(module.getContext()), false);
  llvm::FunctionCallee callee = module.getOrInsertFunction(name, type);
  auto* function = llvm::cast<llvm::Function>(callee.getCallee());
  function->setDoesNotThrow();
  function->addFnAttr(llvm::Attribute::NoMerge);
  function->addFnAttr(llvm::Attribute::WillReturn);
  function->setOnlyAccessesInaccessibleMemory();
  return callee;
}

// The first marker reached from `block` (outside the loop, where control flow has no cycles).
llvm::StringRef MarkerAfter(llvm::BasicBlock* block) {
  std::vector<llvm::BasicBlock*> work{block};
  std::set<llvm::BasicBlock*> seen;
  while (!work.empty()) {
    llvm::BasicBlock* b = work.back();
    work.pop_back();
    if (!seen.insert(b).second) continue;
    for (llvm::Instruction& instruction : *b) {
      auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction);
      if (!call || !call->getCalledFunction()) continue;
      const llvm::StringRef name = call->getCalledFunction()->getName();
      if (name == kPauseMarker || name == kExitMarker || name == kDetourMarker || name == kLeftMarker) return name;
    }
    for (llvm::BasicBlock* next : llvm::successors(b)) work.push_back(next);
  }
  return kExitMarker;
}

// Whether `user` only hands `value` on, without looking at it: all of it, or its low part.
bool IsCopy(const llvm::Instruction* user, const llvm::Value* value) {
  if (llvm::isa<llvm::PHINode>(user) || llvm::isa<llvm::TruncInst>(user) || llvm::isa<llvm::ZExtInst>(user) || llvm::isa<llvm::FreezeInst>(user)) return true;
  constexpr uint64_t kLowHalf = 0xffffffff;
  if (llvm::PatternMatch::match(user, llvm::PatternMatch::m_And(llvm::PatternMatch::m_Value(),
                                                                llvm::PatternMatch::m_SpecificInt(kLowHalf)))) {
    return true;
  }
  const auto* select = llvm::dyn_cast<llvm::SelectInst>(user);
  return select && select->getCondition() != value;
}

// A value that follows an induction variable one pass behind (`before = row; row += width;`) is one itself, provided
// that it was one step behind at entry too. Makes it one and relies on that.
void FollowRecurrences(LoopShape& shape, llvm::ScalarEvolution& evolution) {
  llvm::BasicBlock* preheader = shape.loop->getLoopPreheader();
  llvm::SCEVExpander expander(evolution, preheader->getModule()->getDataLayout(), "behind");
  for (bool changed = true; changed;) {
    changed = false;
    for (llvm::PHINode& phi : shape.loop->getHeader()->phis()) {
      if (!phi.getType()->isIntegerTy() || IsRecurrence(phi, shape.loop, evolution)) continue;
      if (KeptValueOf(&phi, shape.loop)) continue;
      const auto* next = llvm::dyn_cast<llvm::SCEVAddRecExpr>(
          evolution.getSCEV(phi.getIncomingValueForBlock(shape.loop->getLoopLatch())));
      if (!next || next->getLoop() != shape.loop || !next->isAffine()) continue;
      const llvm::SCEV* start = evolution.getMinusSCEV(next->getStart(), next->getStepRecurrence(evolution));
      if (!expander.isSafeToExpandAt(start, preheader->getTerminator())) continue;
      llvm::Value* expected = expander.expandCodeFor(start, phi.getType(), preheader->getTerminator());
      llvm::Value* actual = phi.getIncomingValueForBlock(preheader);
      phi.setIncomingValueForBlock(preheader, expected);
      evolution.forgetValue(&phi);
      changed = IsRecurrence(phi, shape.loop, evolution);
      if (changed) {
        llvm::IRBuilder<> builder(preheader->getTerminator());
        RelyOn(builder.CreateICmpEQ(actual, expected), preheader->getTerminator());
        break;
      }
      phi.setIncomingValueForBlock(preheader, actual);
      evolution.forgetValue(&phi);
    }
  }
}

std::string CarriedDetail(const llvm::PHINode* phi, uint64_t address, const DecodedFunction& code) {
  llvm::StringRef name = phi->getName().split('.').first;
  const std::string text = InstructionText(address, code);
  return text.empty() ? fmt::format("{}", name.str()) : fmt::format("{} through {}", name.str(), text);
}

}  // namespace

bool IsRecurrence(llvm::PHINode& phi, const llvm::Loop* loop, llvm::ScalarEvolution& evolution) {
  if (!evolution.isSCEVable(phi.getType())) return false;
  const auto* recurrence = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(&phi));
  return recurrence && recurrence->getLoop() == loop;
}

std::optional<KeptValue> KeptValueOf(llvm::PHINode* phi, const llvm::Loop* loop) {
  KeptValue kept{phi, {phi}};
  std::set<const llvm::Instruction*> seen{phi};
  for (size_t i = 0; i < kept.copies.size(); ++i) {
    for (llvm::User* user : kept.copies[i]->users()) {
      auto* instruction = llvm::cast<llvm::Instruction>(user);
      if (!loop->contains(instruction->getParent()) || instruction == phi) continue;
      const bool next_pass_gets_it = llvm::isa<llvm::PHINode>(instruction) && instruction->getParent() == loop->getHeader();
      if (!IsCopy(instruction, kept.copies[i]) || next_pass_gets_it) return std::nullopt;
      if (seen.insert(instruction).second) kept.copies.push_back(instruction);
    }
  }
  return kept;
}

uint64_t InstructionAddress(const llvm::Value* value, const DecodedFunction& code) {
  const auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
  if (!instruction || !instruction->getDebugLoc()) return 0;
  const Instruction* machine = code.InstructionOnLine(instruction->getDebugLoc().getLine());
  return machine == nullptr ? 0 : OriginalAddress(machine->address);
}

std::string InstructionText(uint64_t address, const DecodedFunction& code) {
  const auto instruction = std::ranges::find(code.instructions, address, [](const Instruction& candidate) {
    return OriginalAddress(candidate.address);
  });
  return instruction != code.instructions.end() ? Disassemble(*instruction) : "";
}

ExitCount CountOf(const llvm::Loop* loop, llvm::BasicBlock* exiting, llvm::ScalarEvolution& evolution) {
  const llvm::SCEV* proven = evolution.getExitCount(loop, exiting);
  if (!llvm::isa<llvm::SCEVCouldNotCompute>(proven)) return {proven, 1};

  // Left when {start,+,step} == bound: after (bound - start) / step passes.
  const auto* branch = llvm::dyn_cast<llvm::BranchInst>(exiting->getTerminator());
  const auto* compare = branch && branch->isConditional() ? llvm::dyn_cast<llvm::ICmpInst>(branch->getCondition()) : nullptr;
  if (!compare || !compare->isEquality() || !loop->getLoopLatch()) return {};
  llvm::DominatorTree dominators(*exiting->getParent());
  if (!dominators.dominates(exiting, loop->getLoopLatch())) return {};
  const bool leaves_when_true = !loop->contains(branch->getSuccessor(0));
  if (leaves_when_true != (compare->getPredicate() == llvm::ICmpInst::ICMP_EQ)) return {};
  const llvm::SCEV* left = evolution.getSCEV(compare->getOperand(0));
  const llvm::SCEV* right = evolution.getSCEV(compare->getOperand(1));
  if (evolution.isLoopInvariant(left, loop)) std::swap(left, right);
  const auto* stepping = llvm::dyn_cast<llvm::SCEVAddRecExpr>(left);
  if (!stepping || stepping->getLoop() != loop || !stepping->isAffine() || !evolution.isLoopInvariant(right, loop)) {
    return {};
  }
  const auto* step = llvm::dyn_cast<llvm::SCEVConstant>(stepping->getStepRecurrence(evolution));
  if (!step || step->isZero()) return {};
  const llvm::SCEV* start = stepping->getStart();
  const llvm::APInt& by = step->getAPInt();
  if (by.isNegative()) return {evolution.getMinusSCEV(start, right), (-by).getZExtValue()};
  return {evolution.getMinusSCEV(right, start), by.getZExtValue()};
}

llvm::BasicBlock* NewEnd(llvm::Function& function, const char* marker) {
  llvm::BasicBlock* end = llvm::BasicBlock::Create(function.getContext(), "end", &function);
  llvm::IRBuilder<> builder(end);
  builder.CreateCall(Marker(*function.getParent(), marker));
  builder.CreateRet(llvm::Constant::getAllOnesValue(function.getReturnType()));
  return end;
}

void MarkEnds(llvm::Function& function, const LoopFacts& facts) {
  llvm::Module& module = *function.getParent();
  llvm::BasicBlock* natural = nullptr;
  for (llvm::BasicBlock& block : llvm::make_early_inc_range(function)) {
    const bool pause = block.getName() == "pause";
    size_t exit = 0;
    if (!pause && (!block.getName().starts_with("exit_") || block.getName().substr(5).getAsInteger(10, exit))) continue;
    llvm::Instruction* ret = block.getTerminator();
    if (!pause) {
      while (&block.front() != ret) {
        llvm::Instruction& last = *std::prev(ret->getIterator());
        last.replaceAllUsesWith(llvm::PoisonValue::get(last.getType()));
        last.eraseFromParent();
      }
    }
    if (!pause && !facts.is_detour[exit]) {
      if (natural) {
        block.replaceAllUsesWith(natural);
        block.eraseFromParent();
        continue;
      }
      natural = &block;
    }
    llvm::IRBuilder<> builder(ret);
    builder.SetCurrentDebugLocation(ret->getDebugLoc());
    builder.CreateCall(Marker(module, pause ? kPauseMarker : facts.is_detour[exit] ? kDetourMarker : kExitMarker));
  }
}

namespace {

// No count where the exit is one way of a switch: what comes later takes exits for branches.
ExitCount CountOfBranch(const llvm::Loop* loop, const ExitEdge& exit, llvm::ScalarEvolution& evolution) {
  return llvm::isa<llvm::BranchInst>(exit.from->getTerminator()) ? CountOf(loop, exit.from, evolution) : ExitCount{};
}

std::vector<ExitEdge> ExitsOf(const llvm::Loop* loop) {
  llvm::SmallVector<llvm::Loop::Edge, 8> edges;
  loop->getExitEdges(edges);
  std::vector<ExitEdge> exits;
  for (const auto& [from, to] : edges) exits.push_back({const_cast<llvm::BasicBlock*>(from), const_cast<llvm::BasicBlock*>(to)});
  return exits;
}

// Also on data that the program would never have come to: how often it is passed at most does not depend on what is loaded.
bool EndsOnAnyData(const llvm::Loop* inner, const llvm::Loop* outer, llvm::ScalarEvolution& evolution) {
  const llvm::SCEV* count = evolution.getSymbolicMaxBackedgeTakenCount(inner);
  const auto is_data = [&](const llvm::SCEV* part) {
    const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(part);
    const auto* value = unknown ? llvm::dyn_cast<llvm::Instruction>(unknown->getValue()) : nullptr;
    return value && outer->contains(value);
  };
  return !llvm::isa<llvm::SCEVCouldNotCompute>(count) && !llvm::SCEVExprContains(count, is_data) &&
         llvm::all_of(*inner, [&](const llvm::Loop* inmost) { return EndsOnAnyData(inmost, outer, evolution); });
}

}  // namespace

bool FlagUncountedExits(llvm::Function& function, llvm::LoopInfo& loops, llvm::ScalarEvolution& evolution) {
  if (loops.empty()) return false;
  const llvm::Loop* loop = *loops.begin();
  std::vector<ExitEdge> uncounted;
  bool any_counted = false;
  for (const ExitEdge& exit : ExitsOf(loop)) {
    if (MarkerAfter(exit.to) != kExitMarker) continue;
    if (CountOfBranch(loop, exit, evolution).dividend) {
      any_counted = true;
    } else {
      uncounted.push_back(exit);
    }
  }
  if (!any_counted || uncounted.empty()) return false;
  const auto ends = [&](const llvm::Loop* inner) { return EndsOnAnyData(inner, loop, evolution); };
  llvm::LoopBlocksRPO order(const_cast<llvm::Loop*>(loop));
  order.perform(&loops);
  if (!llvm::all_of(*loop, ends) || llvm::containsIrreducibleCFG<const llvm::BasicBlock*>(order, loops)) return false;
  const auto writes = [](const llvm::Instruction& instruction) { return instruction.mayWriteToMemory(); };
  if (llvm::any_of(loop->blocks(), [&](llvm::BasicBlock* block) { return llvm::any_of(*block, writes); })) return false;
  llvm::BasicBlock* left = NewEnd(function, kLeftMarker);
  for (const ExitEdge& exit : uncounted) {
    exit.to->removePredecessor(exit.from, /*KeepOneInputPHIs=*/true);
    exit.from->getTerminator()->replaceSuccessorWith(exit.to, left);
  }
  return true;
}

std::expected<LoopShape, Rejection> AnalyseShape(llvm::Function& function, llvm::LoopInfo& loops,
                                                 llvm::ScalarEvolution& evolution, const DecodedFunction& code) {
  const auto reject = [&](RejectionReason reason, const llvm::Value* where, std::string detail = "") {
    const uint64_t address = where ? InstructionAddress(where, code) : 0;
    if (detail.empty() && address != 0) detail = InstructionText(address, code);
    return std::unexpected(Rejection{reason, address, std::move(detail)});
  };

  LoopShape shape;
  for (llvm::Loop* loop : loops) {
    if (shape.loop) return reject(RejectionReason::kIrreducibleLoop, nullptr);
    shape.loop = loop;
  }
  if (!shape.loop || !shape.loop->getLoopPreheader() || !shape.loop->getLoopLatch()) {
    return reject(RejectionReason::kUnknownTripCount, nullptr, "the loop does not repeat with the values seen");
  }

  for (const ExitEdge& exit : ExitsOf(shape.loop)) {
    const llvm::StringRef marker = MarkerAfter(exit.to);
    if (marker == kPauseMarker) {
      shape.pause = exit;
    } else if (marker != kExitMarker) {
      shape.detours.push_back(exit);
    } else {
      shape.natural.push_back(exit);
    }
  }
  if (!shape.pause.from) return reject(RejectionReason::kUnknownTripCount, nullptr, "the loop is never passed again");
  if (shape.natural.empty()) return reject(RejectionReason::kUnknownTripCount, nullptr, "the loop has no exit");

  ExposeExtendedCounters(*shape.loop, evolution);
  ExposeAlternatingValues(*shape.loop, evolution);
  FollowRecurrences(shape, evolution);
  for (const ExitEdge& exit : shape.natural) {
    const ExitCount count = CountOfBranch(shape.loop, exit, evolution);
    if (!count.dividend) return reject(RejectionReason::kUnknownTripCount, exit.from->getTerminator());
    shape.counts.push_back(count);
  }

  ExposePlacedExtremes(shape, loops, evolution);
  while (ExtendLowHalves(*shape.loop, evolution)) continue;
  const auto carried = [&](llvm::PHINode& phi) {
    const llvm::Value* next = phi.getIncomingValueForBlock(shape.loop->getLoopLatch());
    const uint64_t address = InstructionAddress(next, code);
    return std::unexpected(Rejection{RejectionReason::kCarriedValue, address, CarriedDetail(&phi, address, code)});
  };
  for (llvm::PHINode& phi : shape.loop->getHeader()->phis()) {
    if (phi.use_empty()) continue;
    if (IsRecurrence(phi, shape.loop, evolution)) {
      shape.affine.push_back(&phi);
      continue;
    }
    if (auto kept = KeptValueOf(&phi, shape.loop)) {
      shape.kept.push_back(std::move(*kept));
      continue;
    }
    if (auto web = ReductionWebOf(&phi, shape.loop)) {
      shape.reductions.push_back(std::move(*web));
      continue;
    }
    return carried(phi);
  }
  const bool too_many = shape.reductions.size() > kMaxReductions;
  if (too_many || !CanSettleReductions(function, shape)) return carried(*shape.reductions.front().phi);
  return shape;
}

}  // namespace tracelift::jit

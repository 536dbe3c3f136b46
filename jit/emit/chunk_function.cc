#include "jit/emit/chunk_function.h"

#include <llvm/ADT/MapVector.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/Local.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <map>
#include <set>
#include <vector>

#include "jit/artifact.h"
#include "jit/emit/entry_facts.h"
#include "jit/emit/row_reads.h"
#include "jit/emit/seek.h"
#include "jit/emit/settled_state.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };  // the flags are the first of a ChunkResult

bool IsFloatArithmetic(const llvm::Value* value) {
  const auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
  if (!instruction) return false;
  switch (instruction->getOpcode()) {
    case llvm::Instruction::FAdd:
    case llvm::Instruction::FSub:
    case llvm::Instruction::FMul:
    case llvm::Instruction::FDiv:
    case llvm::Instruction::FPExt:
    case llvm::Instruction::FPTrunc:
    case llvm::Instruction::FNeg:
      return true;
    case llvm::Instruction::Call:
      return instruction->getType()->isFPOrFPVectorTy();
    default:
      return false;
  }
}

// The arithmetic whose NaN becomes visible where `value` is used as bits: `value` itself seen through casts.
llvm::Value* FloatBehind(llvm::Value* value) {
  while (auto* cast = llvm::dyn_cast<llvm::BitCastInst>(value)) value = cast->getOperand(0);
  return value->getType()->isFPOrFPVectorTy() ? value : nullptr;
}

// LLVM folds arithmetic on constants; what comes out may be a NaN of another sign than the machine's. That is the NaN
// without payload. Others are masks, as fabs and copysign have them in their tables, or all ones: bits of the program.
bool IsNaNConstant(const llvm::Value* value) {
  const auto is_nan = [](const llvm::Constant* constant) {
    const auto* number = llvm::dyn_cast_or_null<llvm::ConstantFP>(constant);
    if (!number || !number->isNaN()) return false;
    const llvm::APFloat& nan = number->getValueAPF();
    return nan.bitwiseIsEqual(llvm::APFloat::getQNaN(nan.getSemantics(), nan.isNegative()));
  };
  const auto* constant = llvm::dyn_cast<llvm::Constant>(value);
  if (!constant) return false;
  if (is_nan(constant)) return true;
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(constant->getType());
  for (unsigned i = 0; vector && i < vector->getNumElements(); ++i) {
    if (is_nan(constant->getAggregateElement(i))) return true;
  }
  return false;
}

// True when arithmetic may have made `value`: copies of loaded or entry data keep their bits anyway.
bool MayComeFromArithmetic(llvm::Value* value) {
  std::vector<llvm::Value*> work{value};
  llvm::SmallPtrSet<llvm::Value*, 16> seen;
  while (!work.empty()) {
    llvm::Value* v = work.back();
    work.pop_back();
    if (!seen.insert(v).second) continue;
    if (IsFloatArithmetic(v) || IsNaNConstant(v)) return true;
    if (auto* phi = llvm::dyn_cast<llvm::PHINode>(v)) {
      work.insert(work.end(), phi->op_begin(), phi->op_end());
    } else if (auto* select = llvm::dyn_cast<llvm::SelectInst>(v)) {
      work.push_back(select->getTrueValue());
      work.push_back(select->getFalseValue());
    } else if (auto* cast = llvm::dyn_cast<llvm::BitCastInst>(v)) {
      work.push_back(cast->getOperand(0));
    } else if (!llvm::isa<llvm::LoadInst>(v) && !llvm::isa<llvm::Constant>(v) && !llvm::isa<llvm::Argument>(v) &&
               v->getType()->isFPOrFPVectorTy()) {
      return true;
    }
  }
  return false;
}

llvm::Value* IsNaN(llvm::Value* value, bool innermost, llvm::IRBuilder<>& builder) {
  llvm::Type* type = value->getType();
  if (innermost) return builder.CreateFCmpUNO(value, value);
  // Tested as bits, which LLVM leaves alone: it would merge the comparison with one in an inner loop, whose values were
  // then used outside it, and the loop vectoriser gives up on that.
  const llvm::APInt infinity = llvm::APFloat::getInf(type->getScalarType()->getFltSemantics()).bitcastToAPInt();
  llvm::Type* bits_type = type->getWithNewType(builder.getIntNTy(infinity.getBitWidth()));
  llvm::Value* bits = builder.CreateBitCast(value, bits_type);
  llvm::Value* magnitude =
      builder.CreateAnd(bits, llvm::ConstantInt::get(bits_type, llvm::APInt::getSignedMaxValue(infinity.getBitWidth())));
  return builder.CreateICmpUGT(magnitude, llvm::ConstantInt::get(bits_type, infinity));
}

// Of two NaN operands x86 returns the first; LLVM may swap them, and folds signs differently. So wherever bits of a
// float computed here become visible (memory, integer code, the state at the end), a NaN sets the flag, and the
// caller lets the original code redo the slice. Comparisons see a NaN as unordered whatever its bits.
bool FlagNaNs(llvm::Function& function, const LoopShape& shape, llvm::AllocaInst* seen) {
  std::set<const llvm::BasicBlock*> innermost;
  for (const llvm::Loop* loop : shape.loop->getLoopsInPreorder()) {
    if (loop->isInnermost()) innermost.insert(loop->block_begin(), loop->block_end());
  }
  std::vector<std::pair<llvm::Instruction*, llvm::Value*>> sinks;
  for (llvm::BasicBlock& block : function) {
    for (llvm::Instruction& instruction : block) {
      llvm::Value* value = nullptr;
      if (auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction)) {
        if (store->getValueOperand()->getType()->isFPOrFPVectorTy()) value = store->getValueOperand();
      } else if (auto* cast = llvm::dyn_cast<llvm::BitCastInst>(&instruction)) {
        if (!cast->getType()->isFPOrFPVectorTy()) value = FloatBehind(cast);
      }
      if (value && MayComeFromArithmetic(value)) sinks.emplace_back(&instruction, value);
    }
  }
  for (const auto& [before, value] : sinks) {
    llvm::IRBuilder<> builder(before);
    llvm::Value* nan = IsNaN(value, innermost.contains(before->getParent()), builder);
    if (nan->getType()->isVectorTy()) nan = builder.CreateOrReduce(nan);
    builder.CreateStore(builder.CreateOr(builder.CreateLoad(builder.getInt1Ty(), seen), nan), seen);
  }
  return !sinks.empty();
}

void RemoveNaturalExits(const LoopShape& shape) {
  for (const ExitEdge& exit : shape.natural) {
    auto* branch = llvm::cast<llvm::BranchInst>(exit.from->getTerminator());
    llvm::BasicBlock* stay = branch->getSuccessor(0) == exit.to ? branch->getSuccessor(1) : branch->getSuccessor(0);
    exit.to->removePredecessor(exit.from, /*KeepOneInputPHIs=*/true);
    llvm::IRBuilder<> builder(branch);
    builder.CreateBr(stay);
    branch->eraseFromParent();
  }
}

void AdvanceStarts(llvm::Function& function, const LoopShape& shape, llvm::ScalarEvolution& evolution) {
  llvm::BasicBlock* preheader = shape.loop->getLoopPreheader();
  llvm::SCEVExpander expander(evolution, function.getParent()->getDataLayout(), "advance");
  std::vector<std::pair<llvm::PHINode*, llvm::Value*>> starts;
  for (llvm::PHINode* phi : shape.affine) {
    const auto* recurrence = llvm::cast<llvm::SCEVAddRecExpr>(evolution.getSCEV(phi));
    const llvm::SCEV* start = recurrence->evaluateAtIteration(evolution.getSCEV(function.getArg(kFirst)), evolution);
    starts.emplace_back(phi, expander.expandCodeFor(start, phi->getType(), preheader->getTerminator()));
  }
  expander.clear();
  for (auto [phi, start] : starts) phi->setIncomingValueForBlock(preheader, start);
}

void CountPasses(llvm::Function& function, const LoopShape& shape) {
  llvm::BasicBlock* header = shape.loop->getHeader();
  llvm::BasicBlock* latch = shape.loop->getLoopLatch();
  llvm::IRBuilder<> builder(header, header->begin());
  auto* pass = builder.CreatePHI(builder.getInt64Ty(), 2, "pass");
  auto* branch = llvm::cast<llvm::BranchInst>(shape.pause.from->getTerminator());
  builder.SetInsertPoint(branch);
  llvm::Value* next = builder.CreateAdd(pass, builder.getInt64(1), "pass.next", /*HasNUW=*/true, /*HasNSW=*/true);
  pass->addIncoming(builder.getInt64(0), shape.loop->getLoopPreheader());
  pass->addIncoming(next, latch);
  llvm::Value* done = builder.CreateICmpEQ(next, function.getArg(kCount), "pass.done");
  branch->setCondition(branch->getSuccessor(0) == shape.pause.to ? done : builder.CreateNot(done));
}

// Ends the chunk with `flag` wherever control goes to `name`.
bool FlagMarkers(llvm::Function& function, llvm::StringRef name, uint32_t flag) {
  std::vector<llvm::CallInst*> markers;
  for (llvm::BasicBlock& block : function) {
    for (llvm::Instruction& instruction : block) {
      auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction);
      if (call && call->getCalledFunction() && call->getCalledFunction()->getName() == name) markers.push_back(call);
    }
  }
  for (llvm::CallInst* marker : markers) {
    llvm::IRBuilder<> builder(marker);
    llvm::Value* flags = function.getArg(kFlags);
    llvm::Value* before = builder.CreateLoad(builder.getInt32Ty(), flags);
    builder.CreateStore(builder.CreateOr(before, builder.getInt32(flag)), flags);
    marker->eraseFromParent();
  }
  return !markers.empty();
}

// For each kept value that is needed at the end, whether a pass of this chunk set it, as i1 values beside its copies.
// Values of several kept phis may meet in one copy, so all are traced together.
std::vector<llvm::Value*> TraceKeptValues(const LoopShape& shape, const llvm::Loop* begun_later) {
  llvm::MapVector<llvm::Value*, llvm::Instruction*> is_set;  // the same code wherever values lie in memory
  llvm::Type* flag = llvm::Type::getInt1Ty(shape.loop->getHeader()->getContext());
  llvm::Constant* yes = llvm::ConstantInt::getTrue(flag);
  for (const KeptValue& kept : shape.kept) {
    for (llvm::Instruction* copy : kept.copies) {
      if (is_set.contains(copy)) continue;
      const llvm::Twine name = copy->getName() + ".set";
      if (auto* phi = llvm::dyn_cast<llvm::PHINode>(copy)) {
        is_set[copy] = llvm::PHINode::Create(flag, phi->getNumIncomingValues(), name, phi->getIterator());
      } else if (llvm::isa<llvm::SelectInst>(copy)) {
        is_set[copy] = llvm::SelectInst::Create(copy->getOperand(0), yes, yes, name, copy->getIterator());
      } else {
        is_set[copy] = new llvm::FreezeInst(yes, name, copy->getIterator());
      }
    }
  }
  const auto set = [&](llvm::Value* value) -> llvm::Value* {
    const auto it = is_set.find(value);
    return it == is_set.end() ? static_cast<llvm::Value*>(yes) : it->second;
  };
  std::vector<llvm::Value*> needed;
  for (const auto& [copy, flags] : is_set) {
    if (auto* phi = llvm::dyn_cast<llvm::PHINode>(copy)) {
      for (unsigned i = 0; i < phi->getNumIncomingValues(); ++i) {
        const bool begins_later = begun_later && phi->getParent() == begun_later->getHeader() && !begun_later->contains(phi->getIncomingBlock(i));
        const bool at_start = begins_later || !shape.loop->contains(phi->getIncomingBlock(i));
        llvm::Value* value = at_start ? llvm::ConstantInt::getFalse(flag) : set(phi->getIncomingValue(i));
        llvm::cast<llvm::PHINode>(flags)->addIncoming(value, phi->getIncomingBlock(i));
      }
    } else if (auto* select = llvm::dyn_cast<llvm::SelectInst>(copy)) {
      for (unsigned i : {1u, 2u}) flags->setOperand(i, set(select->getOperand(i)));
    } else {
      flags->setOperand(0, set(llvm::cast<llvm::Instruction>(copy)->getOperand(0)));
    }
    for (const llvm::User* user : copy->users()) {
      if (shape.loop->contains(llvm::cast<llvm::Instruction>(user)->getParent())) continue;
      needed.push_back(flags);
      break;
    }
  }
  return needed;
}

llvm::Instruction* PauseMarker(llvm::Function& function) {
  llvm::CallInst* marker = nullptr;
  for (llvm::BasicBlock& block : function) {
    for (llvm::Instruction& instruction : block) {
      auto* call = llvm::dyn_cast<llvm::CallInst>(&instruction);
      if (call && call->getCalledFunction() && call->getCalledFunction()->getName() == kPauseMarker) marker = call;
    }
  }
  return marker;
}

// `out` may be null: only the last chunk of a run has to leave its state. A value that no pass of this chunk set is what
// an earlier chunk left, unless this is the first one.
void GuardStateStores(llvm::Function& function, const std::vector<llvm::Value*>& must_be_set) {
  llvm::Instruction* marker = PauseMarker(function);
  if (!marker) return;
  llvm::BasicBlock* pause = marker->getParent();
  std::vector<llvm::Instruction*> stores;
  for (llvm::Instruction& instruction : *pause) {
    auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
    if (store && store->getPointerOperand()->stripInBoundsOffsets() == function.getArg(kOut)) stores.push_back(store);
  }
  llvm::IRBuilder<> builder(marker);
  llvm::Value* wanted = builder.CreateIsNotNull(function.getArg(kOut));
  llvm::Instruction* then = llvm::SplitBlockAndInsertIfThen(wanted, marker->getIterator(), false);
  for (llvm::Instruction* store : stores) store->moveBefore(then);
  // What only they need goes with them: where no state is asked for these values may be undefined (wide_loop.cc).
  llvm::BasicBlock* there = then->getParent();
  for (llvm::Instruction& instruction : llvm::make_early_inc_range(llvm::reverse(*pause))) {
    const bool computes = !llvm::isa<llvm::PHINode>(instruction) && !instruction.isTerminator() &&
                          !instruction.mayReadOrWriteMemory() && !instruction.use_empty();
    const bool for_them = llvm::all_of(instruction.users(), [&](const llvm::User* user) {
      return llvm::cast<llvm::Instruction>(user)->getParent() == there;
    });
    if (computes && for_them) instruction.moveBefore(&there->front());
  }
  if (!must_be_set.empty()) {
    builder.SetInsertPoint(then);
    llvm::Value* stale = builder.CreateNot(builder.CreateAnd(must_be_set));
    stale = builder.CreateAnd(stale, builder.CreateICmpNE(function.getArg(kFirst), builder.getInt64(0)));
    llvm::Value* pointer = function.getArg(kFlags);
    llvm::Value* flags = builder.CreateLoad(builder.getInt32Ty(), pointer);
    llvm::Value* bit = builder.CreateSelect(stale, builder.getInt32(kFlagStale), builder.getInt32(0));
    builder.CreateStore(builder.CreateOr(flags, bit), pointer);
  }
  marker->eraseFromParent();
}

}  // namespace

ChunkTraits MakeChunkFunction(llvm::Function& function, const LoopShape& shape, llvm::ScalarEvolution& evolution,
                              const std::vector<TableRead>& table_reads, std::vector<WindowRead> window_reads,
                              const llvm::Loop* begun_later) {
  ChunkTraits traits;
  const bool may_stray = !window_reads.empty() || llvm::any_of(table_reads, [](const TableRead& read) { return !read.stays_inside; });
  std::vector<DataBound> bounds = may_stray ? DataBoundsOf(shape.loop, evolution) : std::vector<DataBound>{};
  const std::vector<RowRead> row_reads = TakeRowReads(&window_reads, shape.loop, evolution);
  traits.reads_rows = !row_reads.empty();
  for (const RowRead& row : row_reads) {
    const auto leaves = [&](const DataBound& bound) { return llvm::is_contained(bound.before, row.before); };
    if (llvm::none_of(bounds, leaves)) bounds.push_back({.before = {row.before}, .latches = {}});
  }
  const auto may_flag = [&](bool may, uint32_t flag) { traits.may_flag |= may ? flag : 0; };
  const auto stores_flags = [](const llvm::User* user) { return llvm::isa<llvm::StoreInst>(user); };
  may_flag(llvm::any_of(function.getArg(kFlags)->users(), stores_flags), kFlagDivideFault | kFlagDetour);


  llvm::IRBuilder<> entry(&function.getEntryBlock(), function.getEntryBlock().getFirstInsertionPt());
  llvm::AllocaInst* nan_seen = entry.CreateAlloca(entry.getInt1Ty(), nullptr, "nan");
  entry.CreateStore(entry.getFalse(), nan_seen);
  llvm::AllocaInst* strayed = entry.CreateAlloca(entry.getInt1Ty(), nullptr, "strayed");
  entry.CreateStore(entry.getFalse(), strayed);

  const std::vector<llvm::Value*> must_be_set = TraceKeptValues(shape, begun_later);
  may_flag(!must_be_set.empty(), kFlagStale);
  const std::vector<llvm::StoreInst*> of_reductions = StoresOfReductions(function, shape);
  const auto sought = FindSoughtState(function, shape, evolution, of_reductions);
  AdvanceStarts(function, shape, evolution);
  if (sought || !shape.reductions.empty()) {
    llvm::Instruction* ret = AddSeek(function, shape, sought.value_or(std::vector<SoughtValue>{}), evolution);
    SettleReductions(function, shape, of_reductions, ret);
  }
  traits.can_seek = sought.has_value();
  ReduceByChunk(function, shape, PauseMarker(function));
  for (const ReductionWeb& web : shape.reductions) traits.reductions.push_back(web.reduction);
  CountPasses(function, shape);
  RemoveNaturalExits(shape);
  GuardStateStores(function, must_be_set);  // first, as a NaN in the state is one only where the state is asked for
  may_flag(FlagNaNs(function, shape, nan_seen), kFlagNaN);
  GuardTableReads(table_reads, strayed);
  GuardWindowReads(window_reads, strayed);
  CheckRowReads(row_reads, strayed);
  LeaveWhenStrayed(function, bounds, strayed);
  FlagMarkers(function, kStrayedMarker, kFlagStrayed);
  may_flag(may_stray, kFlagStrayed);
  may_flag(FlagMarkers(function, kDetourMarker, kFlagDetour), kFlagDetour);
  may_flag(FlagMarkers(function, kLeftMarker, kFlagLeft), kFlagLeft);
  may_flag(CheckFacts(function, shape.loop->getLoopPreheader()->getTerminator()), kFlagUnlike);
  for (llvm::BasicBlock& block : function) {
    auto* ret = llvm::dyn_cast<llvm::ReturnInst>(block.getTerminator());
    if (!ret) continue;
    llvm::IRBuilder<> builder(ret);
    llvm::Value* pointer = function.getArg(kFlags);
    const auto flag_if = [&](llvm::AllocaInst* condition, uint32_t flag) {
      return builder.CreateSelect(builder.CreateLoad(builder.getInt1Ty(), condition), builder.getInt32(flag), builder.getInt32(0));
    };
    llvm::Value* bit = builder.CreateOr(flag_if(nan_seen, kFlagNaN), flag_if(strayed, kFlagStrayed));
    builder.CreateStore(builder.CreateOr(builder.CreateLoad(builder.getInt32Ty(), pointer), bit), pointer);
  }
  llvm::removeUnreachableBlocks(function);
  return traits;
}

}  // namespace tracelift::jit

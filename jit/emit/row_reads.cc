#include "jit/emit/row_reads.h"

#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <algorithm>
#include <map>

#include "jit/emit/program_memory.h"

namespace tracelift::jit {
namespace {

constexpr size_t kMostCopies = 32;

// What `value` is in the loop's first iteration, computed ahead of it.
class FirstIteration {
 public:
  explicit FirstIteration(const llvm::Loop* loop) : loop_(loop), builder_(loop->getLoopPreheader()->getTerminator()) {}

  bool CanCompute(llvm::Value* value) {
    auto* instruction = InLoop(value);
    if (!instruction || IsCounter(instruction)) return true;
    if (++looked_at_ > kMostCopies || llvm::isa<llvm::PHINode>(instruction)) return false;
    if (instruction->mayReadOrWriteMemory() || !llvm::isSafeToSpeculativelyExecute(instruction)) return false;
    return llvm::all_of(instruction->operands(), [&](llvm::Value* operand) { return CanCompute(operand); });
  }

  llvm::Value* Compute(llvm::Value* value) {
    auto* instruction = InLoop(value);
    if (!instruction) return value;
    if (IsCounter(instruction))
      return llvm::cast<llvm::PHINode>(instruction)->getIncomingValueForBlock(loop_->getLoopPreheader());
    if (const auto known = copies_.find(value); known != copies_.end()) return known->second;
    llvm::Instruction* copy = instruction->clone();
    copy->dropPoisonGeneratingFlags();
    for (llvm::Use& operand : copy->operands()) operand.set(Compute(operand.get()));
    return copies_[value] = builder_.Insert(copy);
  }

  llvm::IRBuilder<>& builder() { return builder_; }

 private:
  llvm::Instruction* InLoop(llvm::Value* value) const {
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(value);
    return instruction && loop_->contains(instruction) ? instruction : nullptr;
  }
  bool IsCounter(const llvm::Instruction* instruction) const {
    return llvm::isa<llvm::PHINode>(instruction) && instruction->getParent() == loop_->getHeader();
  }

  const llvm::Loop* loop_;
  llvm::IRBuilder<> builder_;
  size_t looked_at_ = 0;
  std::map<llvm::Value*, llvm::Value*> copies_;
};

const llvm::Loop* InnermostAround(const llvm::Instruction* instruction, const llvm::Loop* outer) {
  for (bool deeper = true; deeper;) {
    deeper = false;
    for (const llvm::Loop* inner : *outer) {
      if (!inner->contains(instruction)) continue;
      outer = inner;
      deeper = true;
      break;
    }
  }
  return outer;
}

// Expanding one would make another counter.
bool HasCounter(const llvm::SCEV* count) {
  return llvm::SCEVExprContains(count, [](const llvm::SCEV* part) { return llvm::isa<llvm::SCEVAddRecExpr>(part); });
}

}  // namespace

std::vector<RowRead> TakeRowReads(std::vector<WindowRead>* reads, const llvm::Loop* outer,
                                  llvm::ScalarEvolution& evolution) {
  std::vector<RowRead> rows;
  if (reads->empty()) return rows;
  llvm::Function& function = *outer->getHeader()->getParent();
  const llvm::DominatorTree dominators(function);
  std::erase_if(*reads, [&](const WindowRead& read) {
    const llvm::Loop* loop = InnermostAround(read.load, outer);
    llvm::BasicBlock *before = loop->getLoopPreheader(), *latch = loop->getLoopLatch();
    // In each iteration, and all of them before the loop is left.
    if (loop == outer || !before || !latch || loop->getExitingBlock() != latch) return false;
    if (!dominators.dominates(read.load->getParent(), latch)) return false;
    const llvm::SCEV* address = AddressOf(read.load->getPointerOperand(), evolution);
    const auto* along = address ? llvm::dyn_cast<llvm::SCEVAddRecExpr>(address) : nullptr;
    if (!along || along->getLoop() != loop || !along->isAffine()) return false;
    const auto* step = llvm::dyn_cast<llvm::SCEVConstant>(along->getStepRecurrence(evolution));
    if (!step || step->getAPInt().getSignificantBits() > 32 || step->isZero()) return false;
    const llvm::SCEV* count = evolution.getBackedgeTakenCount(loop);
    if (llvm::isa<llvm::SCEVCouldNotCompute>(count) || HasCounter(count) ||
        evolution.getTypeSizeInBits(count->getType()) > 64)
      return false;
    llvm::SCEVExpander expander(evolution, function.getParent()->getDataLayout(), "row");
    FirstIteration first(loop);
    if (!expander.isSafeToExpandAt(count, before->getTerminator()) || !first.CanCompute(read.load->getPointerOperand()))
      return false;

    llvm::IRBuilder<>& builder = first.builder();
    llvm::Value* times = expander.expandCodeFor(count, count->getType(), before->getTerminator());
    llvm::Value* begin = builder.CreatePtrToInt(first.Compute(read.load->getPointerOperand()), builder.getInt64Ty());
    rows.push_back(
        {read, before, begin, builder.CreateZExt(times, builder.getInt64Ty()), step->getAPInt().getSExtValue()});
    return true;
  });
  return rows;
}

void CheckRowReads(const std::vector<RowRead>& rows, llvm::AllocaInst* strayed) {
  std::map<int, WindowBounds> bounds;
  for (const RowRead& row : rows) {
    llvm::IRBuilder<> builder(row.before->getTerminator());
    const auto [begin, last] = BoundsOf(row.read, strayed, &bounds, builder);
    // No row that long fits, and shorter ones do not wrap.
    const auto length = static_cast<uint64_t>(row.step < 0 ? -row.step : row.step);
    llvm::Value* outside = builder.CreateICmpUGT(row.count, builder.CreateUDiv(last, builder.getInt64(length)));
    llvm::Value* from = builder.CreateSub(row.first, begin);
    llvm::Value* to =
        builder.CreateAdd(from, builder.CreateMul(row.count, builder.getInt64(static_cast<uint64_t>(row.step))));
    for (llvm::Value* offset : {from, to}) outside = builder.CreateOr(outside, builder.CreateICmpUGT(offset, last));
    builder.CreateStore(builder.CreateOr(builder.CreateLoad(builder.getInt1Ty(), strayed), outside), strayed);
    MarkUnwritten(row.read.load);
  }
}

}  // namespace tracelift::jit

#include "jit/emit/packed_reads.h"

#include <llvm/Analysis/AliasAnalysis.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/LoopUtils.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <algorithm>
#include <vector>

#include "jit/artifact.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };
constexpr int64_t kFewestPasses = 16;  // below that a copy costs more than it brings

// Loads of one row of addresses: start + k * step in iteration k of `loop`, in every pass.
struct Row {
  const llvm::SCEVAddRecExpr* address;
  llvm::Loop* loop;
  llvm::Type* type;
  std::vector<llvm::LoadInst*> loads;
};

class Packer {
 public:
  Packer(llvm::Function& panel, llvm::Loop& region, Analyses& analyses)
      : panel_(panel),
        region_(region),
        loops_(analyses.function.getResult<llvm::LoopAnalysis>(panel)),
        evolution_(analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(panel)),
        dominators_(analyses.function.getResult<llvm::DominatorTreeAnalysis>(panel)),
        aliases_(analyses.function.getResult<llvm::AAManager>(panel)),
        expander_(evolution_, panel.getParent()->getDataLayout(), "packed") {}

  std::vector<Row> Rows() {
    std::vector<Row> rows;
    for (llvm::BasicBlock* block : region_.blocks()) {
      llvm::Loop* loop = loops_.getLoopFor(block);
      // In each pass, and in each iteration: what the copy reads ahead the first pass reads, too.
      if (loop == &region_ || loop->getParentLoop() != &region_ || !dominators_.dominates(block, region_.getLoopLatch()) ||
          !CanCount(*loop))
        continue;
      for (llvm::Instruction& instruction : *block) {
        auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction);
        if (!load || !load->isSimple() || !load->getType()->isVectorTy() || !IsReadOnly(*load)) continue;
        const auto* address = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution_.getSCEV(load->getPointerOperand()));
        if (!address || !IsRow(*address, *loop, BytesOf(load->getType()))) continue;
        const auto known = std::ranges::find_if(
            rows, [&](const Row& row) { return row.address == address && row.type == load->getType(); });
        if (known == rows.end()) {
          rows.push_back({address, loop, load->getType(), {load}});
        } else {
          known->loads.push_back(load);
        }
      }
    }
    return rows;
  }

  void Pack(const std::vector<Row>& rows) {
    llvm::BasicBlock* ahead = region_.getLoopPreheader();
    llvm::IRBuilder<> builder(ahead->getTerminator());
    // How much memory they take, and whether there is so much.
    std::vector<llvm::Value*> lengths, offsets;
    llvm::Value* bytes = builder.getInt64(0);
    for (const Row& row : rows) {
      const llvm::SCEV* taken = evolution_.getBackedgeTakenCount(row.loop);
      llvm::Value* count = expander_.expandCodeFor(taken, taken->getType(), ahead->getTerminator());
      lengths.push_back(builder.CreateAdd(builder.CreateZExtOrTrunc(count, builder.getInt64Ty()), builder.getInt64(1)));
      offsets.push_back(bytes);
      bytes = builder.CreateAdd(bytes, builder.CreateMul(lengths.back(), Bytes(row, builder)));
    }
    const auto field = [&](size_t offset, llvm::Type* type) {
      llvm::Value* at = builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), panel_.getArg(kFlags), offset);
      return builder.CreateAlignedLoad(type, at, llvm::Align(8));
    };
    llvm::Value* scratch = field(offsetof(ChunkResult, scratch), builder.getPtrTy());
    llvm::Value* fits = builder.CreateICmpULE(bytes, field(offsetof(ChunkResult, scratch_bytes), builder.getInt64Ty()));
    llvm::Value* often = builder.CreateICmpSGE(panel_.getArg(kCount), builder.getInt64(kFewestPasses));
    llvm::Value* packs = builder.CreateAnd(fits, often);

    std::vector<llvm::Value*> starts, steps;
    for (const Row& row : rows) {
      const llvm::SCEV *start = row.address->getStart(), *step = row.address->getStepRecurrence(evolution_);
      starts.push_back(expander_.expandCodeFor(start, start->getType(), ahead->getTerminator()));
      steps.push_back(expander_.expandCodeFor(step, step->getType(), ahead->getTerminator()));
    }
    expander_.clear();
    llvm::Instruction* copy = llvm::SplitBlockAndInsertIfThen(packs, ahead->getTerminator(), /*Unreachable=*/false);
    for (size_t i = 0; i < rows.size(); ++i) {
      builder.SetInsertPoint(copy);
      llvm::Value* to = builder.CreateGEP(builder.getInt8Ty(), scratch, offsets[i]);
      CopyRow(rows[i], starts[i], steps[i], to, lengths[i], copy);
    }
    builder.SetInsertPoint(region_.getLoopPreheader()->getTerminator());
    for (size_t i = 0; i < rows.size(); ++i) {
      llvm::Value* to = builder.CreateGEP(builder.getInt8Ty(), scratch, offsets[i]);
      llvm::Value* from = builder.CreateSelect(packs, to, starts[i]);
      llvm::Value* step = builder.CreateSelect(packs, Bytes(rows[i], builder), steps[i]);
      Redirect(rows[i], from, step);
    }
  }

 private:
  uint64_t BytesOf(llvm::Type* type) const { return panel_.getParent()->getDataLayout().getTypeStoreSize(type); }
  llvm::Value* Bytes(const Row& row, llvm::IRBuilder<>& builder) const { return builder.getInt64(BytesOf(row.type)); }

  bool CanCount(llvm::Loop& loop) {
    if (!loop.getLoopPreheader() || !loop.getLoopLatch()) return false;
    const llvm::SCEV* taken = evolution_.getBackedgeTakenCount(&loop);
    return !llvm::isa<llvm::SCEVCouldNotCompute>(taken) && taken->getType()->getIntegerBitWidth() <= 64 &&
           IsKnownAhead(taken);
  }

  bool IsKnownAhead(const llvm::SCEV* value) {
    return evolution_.isLoopInvariant(value, &region_) &&
           expander_.isSafeToExpandAt(value, region_.getLoopPreheader()->getTerminator());
  }

  bool IsRow(const llvm::SCEVAddRecExpr& address, const llvm::Loop& loop, uint64_t bytes) {
    if (address.getLoop() != &loop || !address.isAffine()) return false;
    const llvm::SCEV* step = address.getStepRecurrence(evolution_);
    const auto* constant = llvm::dyn_cast<llvm::SCEVConstant>(step);
    const bool side_by_side = constant && constant->getAPInt().abs().ule(bytes);
    return !side_by_side && IsKnownAhead(address.getStart()) && IsKnownAhead(step);
  }

  bool IsReadOnly(const llvm::LoadInst& load) {
    const llvm::MemoryLocation read = llvm::MemoryLocation::get(&load);
    return llvm::none_of(region_.blocks(), [&](llvm::BasicBlock* block) {
      return llvm::any_of(*block, [&](const llvm::Instruction& instruction) {
        return instruction.mayWriteToMemory() && llvm::isModSet(aliases_.getModRefInfo(&instruction, read));
      });
    });
  }

  void CopyRow(const Row& row, llvm::Value* start, llvm::Value* step, llvm::Value* to, llvm::Value* length,
               llvm::Instruction* before) {
    llvm::BasicBlock* entry = before->getParent();
    llvm::BasicBlock* after = llvm::SplitBlock(entry, before);
    llvm::BasicBlock* body = llvm::BasicBlock::Create(panel_.getContext(), "pack", &panel_, after);
    entry->getTerminator()->replaceSuccessorWith(after, body);
    llvm::IRBuilder<> builder(body);
    llvm::PHINode* k = builder.CreatePHI(builder.getInt64Ty(), 2);
    llvm::Value* from = builder.CreateGEP(builder.getInt8Ty(), start, builder.CreateMul(k, step));
    llvm::LoadInst* value = builder.CreateAlignedLoad(row.type, from, row.loads.front()->getAlign());
    value->setAAMetadata(row.loads.front()->getAAMetadata());
    llvm::Value* at = builder.CreateGEP(builder.getInt8Ty(), to, builder.CreateMul(k, Bytes(row, builder)));
    builder.CreateAlignedStore(value, at, llvm::Align(8));
    llvm::Value* next = builder.CreateAdd(k, builder.getInt64(1), "", /*HasNUW=*/true, /*HasNSW=*/true);
    k->addIncoming(builder.getInt64(0), entry);
    k->addIncoming(next, body);
    builder.CreateCondBr(builder.CreateICmpEQ(next, length), after, body);
  }

  // The loads read what lies `step` apart from `from` on.
  void Redirect(const Row& row, llvm::Value* from, llvm::Value* step) {
    llvm::BasicBlock *header = row.loop->getHeader(), *latch = row.loop->getLoopLatch();
    llvm::IRBuilder<> builder(header, header->begin());
    llvm::PHINode* at = builder.CreatePHI(builder.getPtrTy(), 2, "packed");
    at->addIncoming(from, row.loop->getLoopPreheader());
    builder.SetInsertPoint(latch->getTerminator());
    at->addIncoming(builder.CreateGEP(builder.getInt8Ty(), at, step), latch);
    for (llvm::LoadInst* load : row.loads) load->setOperand(0, at);
  }

  llvm::Function& panel_;
  llvm::Loop& region_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  const llvm::DominatorTree& dominators_;
  llvm::AAResults& aliases_;
  llvm::SCEVExpander expander_;
};

// A panel's own loop does all of the panel at once.
void OpenLoopsOfOneIteration(llvm::Function& panel, Analyses& analyses) {
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(panel);
  auto& evolution = analyses.function.getResult<llvm::ScalarEvolutionAnalysis>(panel);
  auto& dominators = analyses.function.getResult<llvm::DominatorTreeAnalysis>(panel);
  for (llvm::Loop* loop : loops.getLoopsInPreorder()) {
    if (!loop->getLoopLatch() || !evolution.getBackedgeTakenCount(loop)->isZero()) continue;
    llvm::BasicBlock* header = loop->getHeader();
    llvm::breakLoopBackedge(loop, dominators, evolution, loops, nullptr);
    llvm::FoldSingleEntryPHINodes(header);
  }
  analyses.function.clear();
}

}  // namespace

int PackReads(llvm::Function& panel, Analyses& analyses) {
  analyses.function.clear();
  OpenLoopsOfOneIteration(panel, analyses);
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(panel);
  int redirected = 0;
  if (std::distance(loops.begin(), loops.end()) == 1 && (*loops.begin())->getLoopPreheader() && (*loops.begin())->getLoopLatch()) {
    Packer packer(panel, **loops.begin(), analyses);
    const std::vector<Row> rows = packer.Rows();
    if (!rows.empty()) packer.Pack(rows);
    for (const Row& row : rows) redirected += static_cast<int>(row.loads.size());
  }
  analyses.function.clear();
  return redirected;
}

}  // namespace tracelift::jit

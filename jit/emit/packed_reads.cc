#include "jit/emit/packed_reads.h"

#include <llvm/Analysis/AliasAnalysis.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/LoopUtils.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include <algorithm>
#include <vector>

#include "jit/artifact.h"
#include "jit/emit/lane_code.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kFlags };
constexpr int64_t kFewestPasses = 16;  // below that a copy costs more than it brings

// Reads of one row of addresses: start + k * step in iteration k of `loop`, in every pass. Lanes lie side by side there, or
// `lane_step` apart (gathers), where the copy also spares each read the way to as many places as there are lanes.
struct Row {
  const llvm::SCEVAddRecExpr* address;
  llvm::Loop* loop;
  llvm::FixedVectorType* type;
  int64_t lane_step;
  std::vector<llvm::Instruction*> reads;
};

// A read of a vector from lanes at a constant distance.
struct LanesRead {
  llvm::Value* address;  // of the first
  int64_t lane_step;
};

bool IsGather(const llvm::Instruction& instruction) {
  const auto* call = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction);
  return call && call->getIntrinsicID() == llvm::Intrinsic::masked_gather;
}

std::optional<LanesRead> LanesReadBy(llvm::Instruction& instruction) {
  auto* type = llvm::dyn_cast<llvm::FixedVectorType>(instruction.getType());
  if (!type) return std::nullopt;
  if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction)) {
    const auto bytes = static_cast<int64_t>(type->getElementType()->getPrimitiveSizeInBits() / 8);
    return load->isSimple() ? std::optional(LanesRead{load->getPointerOperand(), bytes}) : std::nullopt;
  }
  const std::optional<Lanes> lanes = LanesOfGather(instruction);
  return lanes ? std::optional(LanesRead{lanes->first, lanes->step}) : std::nullopt;
}

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
        const std::optional<LanesRead> read = LanesReadBy(instruction);
        if (!read || !IsReadOnly(instruction)) continue;
        auto* type = llvm::cast<llvm::FixedVectorType>(instruction.getType());
        const auto* address = llvm::dyn_cast<llvm::SCEVAddRecExpr>(evolution_.getSCEV(read->address));
        if (!address || !IsRow(*address, *loop, *type, read->lane_step)) continue;
        const auto known = std::ranges::find_if(rows, [&](const Row& row) {
          return row.address == address && row.type == type && row.lane_step == read->lane_step;
        });
        if (known == rows.end()) {
          rows.push_back({address, loop, type, read->lane_step, {&instruction}});
        } else {
          known->reads.push_back(&instruction);
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
    for (const auto& [gather, at] : gathers_) ReplaceGather(*gather, at, packs);
  }

 private:
  static bool InARow(const Row& row) { return row.lane_step * 8 == static_cast<int64_t>(row.type->getScalarSizeInBits()); }
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

  bool IsRow(const llvm::SCEVAddRecExpr& address, const llvm::Loop& loop, llvm::FixedVectorType& type,
             int64_t lane_step) {
    if (address.getLoop() != &loop || !address.isAffine()) return false;
    const llvm::SCEV* step = address.getStepRecurrence(evolution_);
    const auto* constant = llvm::dyn_cast<llvm::SCEVConstant>(step);
    const bool side_by_side = lane_step * 8 == static_cast<int64_t>(type.getScalarSizeInBits()) && constant &&
                              constant->getAPInt().abs().ule(BytesOf(&type));
    return !side_by_side && IsKnownAhead(address.getStart()) && IsKnownAhead(step);
  }

  bool IsReadOnly(const llvm::Instruction& reader) {
    const auto* load = llvm::dyn_cast<llvm::LoadInst>(&reader);
    const llvm::MemoryLocation read =
        load ? llvm::MemoryLocation::get(load)
             : llvm::MemoryLocation(LanesOfGather(reader)->first, llvm::LocationSize::beforeOrAfterPointer(),
                                    reader.getAAMetadata());
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
    llvm::Value* value = Read(row, from, builder);
    llvm::Value* at = builder.CreateGEP(builder.getInt8Ty(), to, builder.CreateMul(k, Bytes(row, builder)));
    builder.CreateAlignedStore(value, at, llvm::Align(8));
    llvm::Value* next = builder.CreateAdd(k, builder.getInt64(1), "", /*HasNUW=*/true, /*HasNSW=*/true);
    k->addIncoming(builder.getInt64(0), entry);
    k->addIncoming(next, body);
    builder.CreateCondBr(builder.CreateICmpEQ(next, length), after, body);
  }

  llvm::Value* Read(const Row& row, llvm::Value* from, llvm::IRBuilder<>& builder) const {
    const auto load = [&](llvm::Type* type, llvm::Value* at) {
      llvm::LoadInst* part = builder.CreateAlignedLoad(type, at, llvm::Align(1));
      part->setAAMetadata(row.reads.front()->getAAMetadata());
      return part;
    };
    if (InARow(row)) return load(row.type, from);
    llvm::Value* all = llvm::PoisonValue::get(row.type);
    for (unsigned lane = 0; lane < row.type->getNumElements(); ++lane) {
      llvm::Value* offset = builder.getInt64(static_cast<uint64_t>(row.lane_step) * lane);
      llvm::Value* at = builder.CreateGEP(builder.getInt8Ty(), from, offset);
      all = builder.CreateInsertElement(all, load(row.type->getElementType(), at), lane);
    }
    return all;
  }

  // The reads go to what lies `step` apart from `from` on.
  void Redirect(const Row& row, llvm::Value* from, llvm::Value* step) {
    llvm::BasicBlock *header = row.loop->getHeader(), *latch = row.loop->getLoopLatch();
    llvm::IRBuilder<> builder(header, header->begin());
    llvm::PHINode* at = builder.CreatePHI(builder.getPtrTy(), 2, "packed");
    at->addIncoming(from, row.loop->getLoopPreheader());
    builder.SetInsertPoint(latch->getTerminator());
    at->addIncoming(builder.CreateGEP(builder.getInt8Ty(), at, step), latch);
    for (llvm::Instruction* read : row.reads) {
      if (InARow(row) && llvm::isa<llvm::LoadInst>(read)) {
        read->setOperand(0, at);
      } else {
        gathers_.emplace_back(read, at);
      }
    }
  }

  // By a load from the copy, where there is one. Which of them is the same in the whole chunk.
  static void ReplaceGather(llvm::Instruction& gather, llvm::Value* at, llvm::Value* packs) {
    llvm::Instruction *copied = nullptr, *gathered = nullptr;
    llvm::SplitBlockAndInsertIfThenElse(packs, gather.getIterator(), &copied, &gathered);
    llvm::IRBuilder<> builder(copied);
    llvm::LoadInst* load = builder.CreateAlignedLoad(gather.getType(), at, llvm::Align(8));
    load->setAAMetadata(gather.getAAMetadata());
    llvm::BasicBlock* after = gather.getParent();
    gather.moveBefore(gathered);
    builder.SetInsertPoint(after, after->begin());
    llvm::PHINode* either = builder.CreatePHI(gather.getType(), 2);
    gather.replaceAllUsesWith(either);
    either->addIncoming(load, copied->getParent());
    either->addIncoming(&gather, gathered->getParent());
  }

  llvm::Function& panel_;
  llvm::Loop& region_;
  llvm::LoopInfo& loops_;
  llvm::ScalarEvolution& evolution_;
  const llvm::DominatorTree& dominators_;
  llvm::AAResults& aliases_;
  llvm::SCEVExpander expander_;
  std::vector<std::pair<llvm::Instruction*, llvm::Value*>> gathers_;  // and where the copy of what they read is
};

}  // namespace

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

PackedReads PackReads(llvm::Function& panel, Analyses& analyses) {
  analyses.function.clear();
  OpenLoopsOfOneIteration(panel, analyses);
  llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(panel);
  PackedReads result;
  for (llvm::BasicBlock& block : panel) {
    if (loops.getLoopDepth(&block) < 2) continue;
    for (const llvm::Instruction& instruction : block) result.gathers_left += IsGather(instruction) ? 1 : 0;
  }
  if (std::distance(loops.begin(), loops.end()) == 1 && (*loops.begin())->getLoopPreheader() && (*loops.begin())->getLoopLatch()) {
    Packer packer(panel, **loops.begin(), analyses);
    const std::vector<Row> rows = packer.Rows();
    if (!rows.empty()) packer.Pack(rows);
    for (const Row& row : rows) {
      result.redirected += static_cast<int>(row.reads.size());
      for (const llvm::Instruction* read : row.reads) result.gathers_left -= IsGather(*read) ? 1 : 0;
    }
  }
  analyses.function.clear();
  return result;
}

}  // namespace tracelift::jit

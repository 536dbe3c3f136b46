#include "jit/emit/wide_loop.h"

#include <llvm/Transforms/Utils/Local.h>

#include <vector>

#include "jit/emit/lane_control.h"

namespace tracelift::jit {

void UsePoisonOutside(llvm::Loop& loop) {
  for (llvm::BasicBlock* block : loop.blocks()) {
    for (llvm::Instruction& instruction : *block) {
      instruction.replaceUsesWithIf(llvm::PoisonValue::get(instruction.getType()), [&](llvm::Use& use) {
        return !loop.contains(llvm::cast<llvm::Instruction>(use.getUser()));
      });
    }
  }
}

bool HasOneEnd(const llvm::Loop& loop, const llvm::Loop& region) {
  if (!loop.getLoopPreheader() || !loop.getLoopLatch() || !loop.isLoopExiting(loop.getLoopLatch())) return false;
  llvm::SmallVector<llvm::Loop::Edge, 8> exits;
  loop.getExitEdges(exits);
  return llvm::all_of(exits, [&](const llvm::Loop::Edge& exit) {
    if (exit.first == loop.getLoopLatch()) return true;
    return !region.contains(exit.second) && exit.second->phis().empty();
  });
}

llvm::BasicBlock* EndingBlockOf(const llvm::Loop& loop, const llvm::Loop& region) {
  llvm::SmallVector<llvm::Loop::Edge, 8> exits;
  loop.getExitEdges(exits);
  llvm::BasicBlock* ending = nullptr;
  for (const auto& [from, to] : exits) {
    if (!region.contains(to) && to->phis().empty()) continue;
    if (ending || !region.contains(to) || !llvm::isa<llvm::BranchInst>(from->getTerminator())) return nullptr;
    ending = const_cast<llvm::BasicBlock*>(from);
  }
  return ending;
}

bool HasKeptValues(llvm::Loop& loop, const LaneValues& values) {
  return llvm::any_of(loop.getHeader()->phis(), [&](llvm::PHINode& phi) { return values.IsKept(&phi); });
}

llvm::Value* Further(llvm::Value* counter, int64_t stride, llvm::Value* iterations, llvm::IRBuilder<>& builder) {
  llvm::Value* by = builder.CreateMul(iterations, builder.getInt64(static_cast<uint64_t>(stride)));
  if (counter->getType()->isPointerTy()) return builder.CreateGEP(builder.getInt8Ty(), counter, by);
  return builder.CreateAdd(counter, builder.CreateTrunc(by, counter->getType()));
}

llvm::BasicBlock* EmitWideLoop(llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values, unsigned lanes,
                               const WideEntry& from, llvm::Value* passes, Reads reads, llvm::IRBuilder<>& builder) {
  llvm::BasicBlock* entry = from.block;
  llvm::Function& function = *entry->getParent();
  LaneCode code(values, loop, lanes, builder, reads);
  llvm::Type* bits = llvm::FixedVectorType::get(builder.getInt1Ty(), lanes);
  std::vector<std::pair<llvm::AllocaInst*, llvm::AllocaInst*>> flags;
  for (llvm::Instruction& instruction : function.getEntryBlock()) {
    auto* flag = llvm::dyn_cast<llvm::AllocaInst>(&instruction);
    const bool used =
        flag && flag->getAllocatedType()->isIntegerTy(1) && llvm::any_of(flag->users(), [&](llvm::User* user) {
          return loop.contains(llvm::cast<llvm::Instruction>(user));
        });
    if (used) flags.emplace_back(flag, nullptr);
  }
  llvm::IRBuilder<> top(&function.getEntryBlock(), function.getEntryBlock().begin());
  builder.SetInsertPoint(entry);
  for (auto& [flag, own] : flags) {
    own = top.CreateAlloca(bits, nullptr, flag->getName() + ".lanes");
    builder.CreateStore(llvm::Constant::getNullValue(bits), own);
    code.SetFlag(flag, own);
  }
  llvm::BasicBlock* header = llvm::BasicBlock::Create(function.getContext(), "lanes", &function);
  builder.CreateBr(header);
  builder.SetInsertPoint(header);
  llvm::PHINode* done = builder.CreatePHI(builder.getInt64Ty(), 2, "done");
  done->addIncoming(builder.getInt64(0), entry);
  struct Counter {
    llvm::PHINode* copy;
    int64_t stride;
  };
  std::vector<Counter> counters;
  for (llvm::PHINode& phi : loop.getHeader()->phis()) {
    if (values.IsKept(&phi)) {
      code.SetScalar(&phi, llvm::PoisonValue::get(phi.getType()));
      continue;
    }
    llvm::PHINode* copy = builder.CreatePHI(phi.getType(), 2, phi.getName());
    {
      llvm::IRBuilder<>::InsertPointGuard guard(builder);
      builder.SetInsertPoint(entry->getTerminator());
      llvm::Value* start = phi.getIncomingValueForBlock(from.preheader);
      copy->addIncoming(from.first ? Further(start, values.Of(&phi).stride, from.first, builder) : start, entry);
    }
    code.SetScalar(&phi, copy);
    counters.push_back({copy, values.Of(&phi).stride});
  }
  LaneControl(loop, loops, values, code, builder).EmitIteration();
  for (const Counter& counter : counters) {
    counter.copy->addIncoming(Further(counter.copy, counter.stride, builder.getInt64(lanes), builder),
                              builder.GetInsertBlock());
  }
  llvm::Value* next = builder.CreateAdd(done, builder.getInt64(lanes), "", /*HasNUW=*/true, /*HasNSW=*/true);
  done->addIncoming(next, builder.GetInsertBlock());
  llvm::BasicBlock* end = llvm::BasicBlock::Create(function.getContext(), "lanes.end", &function);
  builder.CreateCondBr(builder.CreateICmpEQ(next, passes), end, header);
  builder.SetInsertPoint(end);
  for (const auto& [flag, own] : flags) {
    llvm::Value* any = builder.CreateOrReduce(builder.CreateLoad(bits, own));
    builder.CreateStore(builder.CreateOr(builder.CreateLoad(builder.getInt1Ty(), flag), any), flag);
  }
  return end;
}

llvm::BasicBlock* EndOf(const llvm::Loop& loop) {
  auto* branch = llvm::cast<llvm::BranchInst>(loop.getLoopLatch()->getTerminator());
  return branch->getSuccessor(loop.contains(branch->getSuccessor(0)) ? 1 : 0);
}

void ReplaceByWideLoop(llvm::Loop& loop, llvm::LoopInfo& loops, const LaneValues& values, unsigned lanes,
                       llvm::Value* first, llvm::Value* passes, Reads reads) {
  llvm::BasicBlock *header = loop.getHeader(), *preheader = loop.getLoopPreheader(), *exit = EndOf(loop);
  llvm::Function& function = *header->getParent();
  UsePoisonOutside(loop);
  llvm::BasicBlock* entry = llvm::BasicBlock::Create(function.getContext(), "lanes.entry", &function);
  preheader->getTerminator()->replaceSuccessorWith(header, entry);
  llvm::IRBuilder<> builder(function.getContext());
  llvm::BasicBlock* end = EmitWideLoop(loop, loops, values, lanes, {entry, preheader, first}, passes, reads, builder);
  for (llvm::PHINode& phi : exit->phis()) phi.addIncoming(llvm::PoisonValue::get(phi.getType()), end);
  builder.CreateBr(exit);
  header->removePredecessor(preheader, /*KeepOneInputPHIs=*/true);
  llvm::removeUnreachableBlocks(function);
}

}  // namespace tracelift::jit

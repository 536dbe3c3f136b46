#include "jit/emit/counted_exits.h"

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include "jit/emit/loop_shape.h"

namespace tracelift::jit {
namespace {

struct Exit {
  llvm::Loop* loop;
  llvm::BranchInst* branch;
  llvm::Value* passes;  // backedges taken before it is left here
};

}  // namespace

void CountExits(const std::vector<llvm::Loop*>& loops, llvm::ScalarEvolution& evolution) {
  if (loops.empty()) return;
  llvm::SCEVExpander expander(evolution, loops[0]->getHeader()->getModule()->getDataLayout(), "passes");
  std::vector<Exit> exits;
  for (llvm::Loop* loop : loops) {
    if (!loop->getLoopPreheader() || !loop->getLoopLatch()) continue;
    const ExitCount count = CountOf(loop, loop->getExitingBlock(), evolution);
    llvm::Instruction* at = loop->getLoopPreheader()->getTerminator();
    if (!expander.isSafeToExpandAt(count.dividend, at)) continue;
    llvm::Value* dividend = expander.expandCodeFor(count.dividend, nullptr, at);
    llvm::IRBuilder<> builder(at);
    llvm::Value* passes = builder.CreateExactUDiv(dividend, llvm::ConstantInt::get(dividend->getType(), count.divisor));
    exits.push_back({loop, llvm::cast<llvm::BranchInst>(loop->getExitingBlock()->getTerminator()), passes});
  }
  expander.clear();
  for (const Exit& exit : exits) {
    llvm::BasicBlock* header = exit.loop->getHeader();
    llvm::IRBuilder<> builder(header, header->begin());
    auto* pass = builder.CreatePHI(exit.passes->getType(), 2, "counted");
    builder.SetInsertPoint(exit.loop->getLoopLatch()->getTerminator());
    pass->addIncoming(llvm::ConstantInt::get(pass->getType(), 0), exit.loop->getLoopPreheader());
    pass->addIncoming(builder.CreateAdd(pass, llvm::ConstantInt::get(pass->getType(), 1), "", /*HasNUW=*/true),
                      exit.loop->getLoopLatch());
    builder.SetInsertPoint(exit.branch);
    const bool leaves_when_true = !exit.loop->contains(exit.branch->getSuccessor(0));
    llvm::Value* last = leaves_when_true ? builder.CreateICmpEQ(pass, exit.passes) : builder.CreateICmpNE(pass, exit.passes);
    exit.branch->setCondition(last);
    evolution.forgetLoop(exit.loop);
  }
}

}  // namespace tracelift::jit

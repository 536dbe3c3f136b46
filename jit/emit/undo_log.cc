#include "jit/emit/undo_log.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <algorithm>
#include <map>
#include <optional>

#include "jit/artifact.h"
#include "jit/emit/pass_groups.h"

namespace tracelift::jit {
namespace {

enum : unsigned { kIn, kOut, kFirst, kCount, kResult };

// The chunk's own variables, the state and the flags; all else is the program's.
bool IsOwn(const llvm::Value* pointer) {
  const llvm::Value* object = llvm::getUnderlyingObject(pointer);
  return llvm::isa<llvm::AllocaInst>(object) || llvm::isa<llvm::Argument>(object);
}

// Whether what `value` is depends on memory that the region might change, or on its results.
bool DependsOnData(llvm::Value* value, const llvm::Loop& region) {
  std::vector<llvm::Value*> work{value};
  llvm::SmallPtrSet<llvm::Value*, 32> seen;
  while (!work.empty()) {
    auto* instruction = llvm::dyn_cast<llvm::Instruction>(work.back());
    work.pop_back();
    if (!instruction || !region.contains(instruction) || !seen.insert(instruction).second) continue;
    if (instruction->mayReadFromMemory()) return true;
    work.insert(work.end(), instruction->op_begin(), instruction->op_end());
  }
  return false;
}

struct LoggedStore {
  llvm::StoreInst* store = nullptr;
  uint16_t access = 0;
  std::vector<llvm::Loop*> nest;  // from the region's loop inwards
  llvm::Value* offset = nullptr;  // of its place in the log
};

class Logger {
 public:
  Logger(llvm::Function& chunk, llvm::Loop& region, llvm::LoopInfo& loops, const SeenFootprint& seen)
      : chunk_(chunk), region_(region), loops_(loops), seen_(seen) {}

  bool Find(const std::vector<uint16_t>& writes, const std::vector<AccessBy>& accesses_by, bool only_by_pass) {
    std::map<const llvm::Instruction*, int> access_of;  // of writes; -1: of several
    std::map<int, int> stores_of;
    for (const AccessBy& by : accesses_by) {
      if (!seen_.program().accesses[static_cast<size_t>(by.access)].write) continue;
      ++stores_of[by.access];
      const auto [at, added] = access_of.emplace(by.instruction, by.access);
      if (!added) at->second = -1;
    }
    for (llvm::BasicBlock* block : region_.blocks()) {
      auto* branch = llvm::dyn_cast<llvm::BranchInst>(block->getTerminator());
      if (!branch || (branch->isConditional() && DependsOnData(branch->getCondition(), region_))) return false;
      for (llvm::Instruction& instruction : *block) {
        if (!instruction.mayWriteToMemory() || llvm::isa<llvm::AssumeInst>(instruction)) continue;
        auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
        if (!store) return false;
        if (IsOwn(store->getPointerOperand())) continue;
        const auto found = access_of.find(store);
        if (!store->isSimple() || found == access_of.end() || found->second < 0 || stores_of[found->second] != 1)
          return false;
        const auto access = static_cast<uint16_t>(found->second);
        if (std::ranges::find(writes, access) == writes.end()) {
          unlogged_.push_back(store);
          continue;
        }
        const auto nest = NestOf(*store, access);
        if (!nest || (only_by_pass && nest->size() > 1) || Bytes(*store) != seen_.program().accesses[access].bytes)
          return false;
        stores_.push_back({store, access, *nest});
      }
    }
    return !stores_.empty() && stores_.size() <= kMaxLogged;
  }

  UndoLog Log() {
    llvm::IRBuilder<> ahead(region_.getLoopPreheader()->getTerminator());
    const auto field = [&](size_t offset, llvm::Type* type) {
      llvm::Value* at = ahead.CreateConstInBoundsGEP1_64(ahead.getInt8Ty(), chunk_.getArg(kResult), offset);
      return ahead.CreateAlignedLoad(type, at, llvm::Align(8));
    };
    llvm::Value* log = field(offsetof(ChunkResult, log), ahead.getPtrTy());
    llvm::Value* layout = field(offsetof(ChunkResult, log_layout), ahead.getPtrTy());
    llvm::Value* passes =
        ahead.CreateSub(chunk_.getArg(kFirst), field(offsetof(ChunkResult, log_first), ahead.getInt64Ty()));
    uint64_t number = 0;
    const auto next = [&]() -> llvm::Value* {
      llvm::Value* at = ahead.CreateConstInBoundsGEP1_64(ahead.getInt64Ty(), layout, number++);
      return ahead.CreateAlignedLoad(ahead.getInt64Ty(), at, llvm::Align(8));
    };
    UndoLog result;
    for (LoggedStore& logged : stores_) {
      llvm::Value* offset = next();
      for (llvm::Loop* loop : logged.nest) {
        llvm::Value* step = loop == logged.nest.back() ? ahead.getInt64(Bytes(*logged.store)) : next();
        if (loop == &region_) offset = ahead.CreateAdd(offset, ahead.CreateMul(passes, step));
        offset = Recurrence(*loop, offset, step);
      }
      logged.offset = offset;
      result.logged.push_back(logged.access);
    }
    // The copy that puts back is made of the code as it is now.
    llvm::ValueToValueMapTy copies;
    result.undo = llvm::CloneFunction(&chunk_, copies);
    const auto copy_of = [&](llvm::Value* value) -> llvm::Value* {
      const auto found = copies.find(value);
      return found == copies.end() ? value : static_cast<llvm::Value*>(found->second);
    };
    KeepAll(log);
    PutBackAll(*result.undo, copy_of(log), copy_of);
    return result;
  }

 private:
  uint64_t Bytes(const llvm::StoreInst& store) const {
    return chunk_.getParent()->getDataLayout().getTypeStoreSize(store.getValueOperand()->getType());
  }

  // The loops around the store, if they are those that the footprint knows.
  std::optional<std::vector<llvm::Loop*>> NestOf(const llvm::StoreInst& store, uint16_t access) const {
    std::vector<llvm::Loop*> nest;
    int dimension = seen_.program().accesses[access].innermost_loop;
    for (llvm::Loop* loop = loops_.getLoopFor(store.getParent()); loop; loop = loop->getParentLoop()) {
      if (dimension < 0 || seen_.LoopOf(loop->getHeader()) != dimension) return std::nullopt;
      if (!loop->getLoopPreheader() || !loop->getLoopLatch()) return std::nullopt;
      dimension = seen_.program().loops[static_cast<size_t>(dimension)].parent;
      nest.insert(nest.begin(), loop);
    }
    if (dimension >= 0 || nest.empty() || nest.front() != &region_) return std::nullopt;
    return nest;
  }

  llvm::Value* Recurrence(llvm::Loop& loop, llvm::Value* start, llvm::Value* step) {
    llvm::IRBuilder<> builder(loop.getHeader(), loop.getHeader()->begin());
    llvm::PHINode* phi = builder.CreatePHI(start->getType(), 2, "log");
    builder.SetInsertPoint(loop.getLoopLatch()->getTerminator());
    phi->addIncoming(start, loop.getLoopPreheader());
    phi->addIncoming(builder.CreateAdd(phi, step, "log.next"), loop.getLoopLatch());
    return phi;
  }

  // Each write has a part of the log for itself, and the log is no memory of the program's.
  void KeepAll(llvm::Value* log) {
    llvm::LLVMContext& context = chunk_.getContext();
    llvm::MDBuilder metadata(context);
    llvm::MDNode* domain = metadata.createAnonymousAliasScopeDomain("log");
    std::vector<llvm::Metadata*> scopes{metadata.createAnonymousAliasScope(domain)};  // the first: all but the log
    for (size_t i = 0; i < stores_.size(); ++i) scopes.push_back(metadata.createAnonymousAliasScope(domain));
    const auto separate = [&](llvm::Instruction& instruction, size_t own) {
      std::vector<llvm::Metadata*> others = scopes;
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(own));
      AddScopes(instruction, llvm::MDNode::get(context, scopes[own]), llvm::MDNode::get(context, others));
    };
    for (llvm::BasicBlock* block : region_.blocks()) {
      for (llvm::Instruction& instruction : *block) {
        const bool accesses = llvm::isa<llvm::LoadInst>(instruction) || llvm::isa<llvm::StoreInst>(instruction);
        if (accesses && !IsOwn(llvm::getLoadStorePointerOperand(&instruction))) separate(instruction, 0);
      }
    }
    for (size_t i = 0; i < stores_.size(); ++i) {
      llvm::StoreInst& store = *stores_[i].store;
      llvm::IRBuilder<> builder(&store);
      llvm::LoadInst* old =
          builder.CreateAlignedLoad(store.getValueOperand()->getType(), store.getPointerOperand(), store.getAlign());
      old->setAAMetadata(store.getAAMetadata());
      llvm::Value* to = builder.CreateGEP(builder.getInt8Ty(), log, stores_[i].offset);
      separate(*builder.CreateAlignedStore(old, to, llvm::Align(1)), i + 1);
    }
  }

  template <typename CopyOf>
  void PutBackAll(llvm::Function& undo, llvm::Value* log, CopyOf copy_of) const {
    undo.setName(chunk_.getName() + ".undo");
    undo.setLinkage(llvm::GlobalValue::InternalLinkage);
    for (llvm::Attribute::AttrKind kind :
         {llvm::Attribute::NoInline, llvm::Attribute::MinSize, llvm::Attribute::OptimizeForSize}) {
      undo.addFnAttr(kind);
    }
    for (llvm::StoreInst* store : unlogged_) llvm::cast<llvm::StoreInst>(copy_of(store))->eraseFromParent();
    for (const LoggedStore& logged : stores_) {
      auto* store = llvm::cast<llvm::StoreInst>(copy_of(logged.store));
      llvm::IRBuilder<> builder(store);
      llvm::Value* from = builder.CreateGEP(builder.getInt8Ty(), log, copy_of(logged.offset));
      store->setOperand(0, builder.CreateAlignedLoad(store->getValueOperand()->getType(), from, llvm::Align(1)));
    }
    // What the chunk flagged stays; nothing is computed here that could be.
    for (llvm::Instruction& instruction : llvm::make_early_inc_range(llvm::instructions(undo))) {
      auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction);
      if (store && llvm::getUnderlyingObject(store->getPointerOperand()) == undo.getArg(kResult))
        store->eraseFromParent();
    }
  }

  llvm::Function& chunk_;
  llvm::Loop& region_;
  llvm::LoopInfo& loops_;
  const SeenFootprint& seen_;
  std::vector<LoggedStore> stores_;
  std::vector<llvm::StoreInst*> unlogged_;  // to memory that nothing reads: done again, they need no undoing
};

}  // namespace

UndoLog LogWrites(llvm::Function& chunk, Analyses& analyses, const SeenFootprint& seen,
                  const std::vector<AccessBy>& accesses_by, bool only_by_pass) {
  const std::vector<uint16_t> writes = seen.WritesToUndo();
  llvm::Loop* region = writes.empty() ? nullptr : RegionLoopOf(chunk, analyses);
  if (!region) return {};
  UndoLog log;
  Logger logger(chunk, *region, analyses.function.getResult<llvm::LoopAnalysis>(chunk), seen);
  if (logger.Find(writes, accesses_by, only_by_pass)) log = logger.Log();
  analyses.function.clear();
  return log;
}

void UndoWhenAsked(llvm::Function& chunk, const UndoLog& log) {
  llvm::BasicBlock& entry = chunk.getEntryBlock();
  for (llvm::Instruction& instruction : llvm::make_early_inc_range(entry)) {
    if (llvm::isa<llvm::AllocaInst>(instruction)) instruction.moveBefore(&entry.front());
  }
  llvm::Instruction* first = &*entry.getFirstNonPHIOrDbgOrAlloca();
  llvm::IRBuilder<> builder(first);
  llvm::Value* at =
      builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), chunk.getArg(kResult), offsetof(ChunkResult, undoes));
  llvm::Value* undoes = builder.CreateICmpNE(builder.CreateLoad(builder.getInt32Ty(), at), builder.getInt32(0));
  llvm::Instruction* end = llvm::SplitBlockAndInsertIfThen(undoes, first->getIterator(), /*Unreachable=*/true);
  builder.SetInsertPoint(end);
  llvm::Value* no_state = llvm::ConstantPointerNull::get(builder.getPtrTy());
  builder.CreateCall(log.undo,
                     {chunk.getArg(kIn), no_state, chunk.getArg(kFirst), chunk.getArg(kCount), chunk.getArg(kResult)});
  builder.CreateRet(llvm::Constant::getNullValue(chunk.getReturnType()));
  end->eraseFromParent();
}

}  // namespace tracelift::jit

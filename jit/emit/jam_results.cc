#include "jit/emit/jam_results.h"

#include <llvm/ADT/PostOrderIterator.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>

#include <vector>

namespace tracelift::jit {
namespace {

class Jammer {
 public:
  Jammer(llvm::Function& function, llvm::ScalarEvolution& evolution, const GridDependence& dependence, const Jam& jam)
      : function_(function), evolution_(evolution), dependence_(dependence), jam_(jam), builder_(function.getContext()) {}

  void Run() {
    std::vector<llvm::Instruction*> varying;
    std::vector<llvm::ReturnInst*> ends;
    for (llvm::Instruction& instruction : llvm::instructions(function_)) {
      if (auto* end = llvm::dyn_cast<llvm::ReturnInst>(&instruction)) ends.push_back(end);
      if (AxesOf(&instruction) != 0 && !instruction.isTerminator()) varying.push_back(&instruction);
    }
    for (llvm::Instruction* original : varying) FindDistances(*original);
    CopyPlaces();
    for (llvm::Instruction* original : varying) Copy(*original);
    for (llvm::Instruction* original : varying) ConnectCopies(*original);
    if (jam_.agreement) jam_.agreement->setCondition(OfAll(*jam_.agreement));
    for (llvm::ReturnInst* end : ends) OrFlags(*end);
    for (llvm::Instruction* original : varying) {
      if (llvm::isa<llvm::StoreInst>(original)) StoreOwnOnly(*original);
    }
  }

 private:
  struct Result {
    int row, column;
  };
  template <typename Do>
  void ForAll(Axes axes, Do act) const {
    for (int row = 0; row < (axes & kByRow ? jam_.rows : 1); ++row) {
      for (int column = 0; column < (axes & kByColumn ? jam_.columns : 1); ++column) act(Result{row, column});
    }
  }
  static constexpr Axes kBoth = kByRow | kByColumn;

  // An axis along which there is one result is none.
  Axes AxesOf(const llvm::Value* value) const {
    const Axes along = static_cast<Axes>((jam_.rows > 1 ? kByRow : 0) | (jam_.columns > 1 ? kByColumn : 0));
    return dependence_.Of(value) & along;
  }

  size_t IndexOf(Axes axes, Result result) const {
    const int row = axes & kByRow ? result.row : 0, column = axes & kByColumn ? result.column : 0;
    return static_cast<size_t>(row * jam_.columns + column);
  }
  std::vector<llvm::Value*>& CopiesOf(llvm::Value* original) {
    std::vector<llvm::Value*>& copies = copies_[original];
    copies.resize(static_cast<size_t>(jam_.rows * jam_.columns));
    copies[0] = original;
    return copies;
  }
  llvm::Value* CopyOf(llvm::Value* value, Result result) const {
    const auto found = copies_.find(value);
    return found == copies_.end() ? value : found->second[IndexOf(AxesOf(value), result)];
  }

  // Of the results' rows and columns, and whether they are this thread's own.
  void CopyPlaces() {
    builder_.SetInsertPoint(&function_.getEntryBlock(), function_.getEntryBlock().getFirstInsertionPt());
    const auto copy = [&](llvm::Argument* first, int count, int64_t distance, llvm::Value* own_from, std::vector<llvm::Value*>* own) {
      for (int i = 0; i < count; ++i) {
        llvm::Value* place = first;
        if (i > 0) place = builder_.CreateAdd(first, builder_.getInt64(static_cast<uint64_t>(i * distance)), "", /*HasNUW=*/true, /*HasNSW=*/true);
        if (count > 1) CopiesOf(first)[static_cast<size_t>(first == jam_.row ? i * jam_.columns : i)] = place;
        own->push_back(own_from && first ? builder_.CreateICmpUGE(place, own_from) : builder_.getTrue());
      }
    };
    copy(jam_.row, jam_.rows, 1, jam_.first_row, &own_row_);
    copy(jam_.column, jam_.columns, jam_.column_distance, jam_.first_column, &own_column_);
  }
  llvm::Value* IsOwn(Result result) {
    return builder_.CreateAnd(own_row_[static_cast<size_t>(result.row)], own_column_[static_cast<size_t>(result.column)]);
  }

  // From the first result's value to the others', where they are constants.
  void FindDistances(llvm::Instruction& original) {
    if (!evolution_.isSCEVable(original.getType())) return;
    std::vector<llvm::Constant*> distances(static_cast<size_t>(jam_.rows * jam_.columns));
    const llvm::SCEV* first = evolution_.getSCEV(&original);
    bool are_constant = !llvm::SCEVExprContains(first, [&](const llvm::SCEV* part) {
      const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(part);
      return unknown && unknown->getValue() != jam_.row && unknown->getValue() != jam_.column && AxesOf(unknown->getValue()) != 0;
    });
    ForAll(AxesOf(&original), [&](Result result) {
      llvm::ValueToSCEVMapTy places;
      const auto move = [&](llvm::Argument* place, int64_t by) {
        if (place && by != 0) places[place] = evolution_.getAddExpr(evolution_.getSCEV(place), evolution_.getConstant(place->getType(), static_cast<uint64_t>(by)));
      };
      move(jam_.row, result.row);
      move(jam_.column, result.column * jam_.column_distance);
      const llvm::SCEV* distance = evolution_.getMinusSCEV(llvm::SCEVParameterRewriter::rewrite(first, evolution_, places), first);
      const auto* constant = llvm::dyn_cast<llvm::SCEVConstant>(distance);
      are_constant &= constant != nullptr;
      if (constant) distances[IndexOf(kBoth, result)] = constant->getValue();
    });
    if (are_constant) distances_[&original] = std::move(distances);
  }

  void AddDistances(llvm::Instruction& original, const std::vector<llvm::Constant*>& distances) {
    const auto at = llvm::isa<llvm::PHINode>(original) ? original.getParent()->getFirstInsertionPt() : std::next(original.getIterator());
    builder_.SetInsertPoint(original.getParent(), at);
    ForAll(AxesOf(&original), [&](Result result) {
      const size_t index = IndexOf(kBoth, result);
      if (index == 0) return;
      const bool is_pointer = original.getType()->isPointerTy();
      CopiesOf(&original)[index] = is_pointer ? builder_.CreateGEP(builder_.getInt8Ty(), &original, distances[index]) : builder_.CreateAdd(&original, distances[index]);
    });
  }

  void Copy(llvm::Instruction& original) {
    if (const auto found = distances_.find(&original); found != distances_.end()) return AddDistances(original, found->second);
    llvm::Instruction* last = &original;
    ForAll(AxesOf(&original), [&](Result result) {
      const size_t index = IndexOf(kBoth, result);
      std::vector<llvm::Value*>& copies = CopiesOf(&original);
      if (index == 0) return;
      llvm::Instruction* copy = original.clone();
      copy->insertAfter(last);
      copies[index] = last = copy;
    });
  }

  void ConnectCopies(llvm::Instruction& original) {
    ForAll(AxesOf(&original), [&](Result result) {
      auto* copy = llvm::cast<llvm::Instruction>(CopyOf(&original, result));
      if (copy == &original || distances_.contains(&original)) return;
      for (llvm::Use& use : copy->operands()) use.set(CopyOf(use.get(), result));
    });
  }

  llvm::Value* OfAll(llvm::BranchInst& branch) {
    builder_.SetInsertPoint(&branch);
    llvm::Value* all = nullptr;
    ForAll(AxesOf(branch.getCondition()), [&](Result result) {
      llvm::Value* one = CopyOf(branch.getCondition(), result);
      all = all ? builder_.CreateAnd(all, one) : one;
    });
    return all;
  }

  void OrFlags(llvm::ReturnInst& end) {
    llvm::Value *one = end.getReturnValue(), *all = builder_.getInt32(0);
    if (AxesOf(one) == 0) return;
    builder_.SetInsertPoint(&end);
    ForAll(kBoth, [&](Result result) {
      all = builder_.CreateOr(all, builder_.CreateSelect(IsOwn(result), CopyOf(one, result), builder_.getInt32(0)));
    });
    end.setOperand(0, all);
  }

  void StoreOwnOnly(llvm::Instruction& original) {
    ForAll(AxesOf(&original), [&](Result result) {
      auto* store = llvm::cast<llvm::Instruction>(CopyOf(&original, result));
      builder_.SetInsertPoint(store);
      llvm::Value* own = IsOwn(result);
      if (llvm::isa<llvm::Constant>(own)) return;
      store->moveBefore(llvm::SplitBlockAndInsertIfThen(own, store->getIterator(), /*Unreachable=*/false));
    });
  }

  llvm::Function& function_;
  llvm::ScalarEvolution& evolution_;
  const GridDependence& dependence_;
  const Jam& jam_;
  llvm::IRBuilder<> builder_;
  std::map<llvm::Value*, std::vector<llvm::Value*>> copies_;  // by row, column
  std::map<const llvm::Instruction*, std::vector<llvm::Constant*>> distances_;  // likewise
  std::vector<llvm::Value*> own_row_, own_column_;
};

}  // namespace

// What cancels out in an address, it does not depend on: a[j][k] at a distance of (i - j) rows.
GridDependence::GridDependence(llvm::Function& function, const llvm::Argument* row, const llvm::Argument* column, llvm::ScalarEvolution& evolution) {
  if (row) axes_[row] = kByRow;
  axes_[column] = kByColumn;
  const auto of_operands = [&](const llvm::Instruction& value) {
    Axes axes = 0;
    for (const llvm::Value* operand : value.operands()) axes |= Of(operand);
    return axes;
  };
  const auto of_parts = [&](llvm::Instruction& value) {
    if (!evolution.isSCEVable(value.getType())) return static_cast<Axes>(kByRow | kByColumn);
    Axes axes = 0;
    llvm::SCEVExprContains(evolution.getSCEV(&value), [&](const llvm::SCEV* part) {
      const auto* unknown = llvm::dyn_cast<llvm::SCEVUnknown>(part);
      if (unknown) axes |= unknown->getValue() == &value ? kByRow | kByColumn : Of(unknown->getValue());
      return false;
    });
    return axes;
  };
  for (bool changes = true; changes;) {
    changes = false;
    for (llvm::BasicBlock* block : llvm::ReversePostOrderTraversal<llvm::Function*>(&function)) {
      for (llvm::Instruction& instruction : *block) {
        Axes axes = of_operands(instruction);
        if (axes != 0) axes &= of_parts(instruction);
        if ((Of(&instruction) | axes) == Of(&instruction)) continue;
        axes_[&instruction] |= axes;
        changes = true;
      }
    }
  }
}

Axes GridDependence::Of(const llvm::Value* value) const {
  const auto found = axes_.find(value);
  return found == axes_.end() ? Axes{0} : found->second;
}

void JamResults(llvm::Function& function, llvm::ScalarEvolution& evolution, const GridDependence& dependence, const Jam& jam) {
  Jammer(function, evolution, dependence, jam).Run();
}

}  // namespace tracelift::jit

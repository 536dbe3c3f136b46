#include "jit/emit/callee_frame.h"

#include <llvm/Analysis/LoopInfo.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/PatternMatch.h>
#include <llvm/Transforms/InstCombine/InstCombine.h>
#include <llvm/Transforms/Scalar/GVN.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>

#include <optional>
#include <vector>

#include "jit/artifact.h"
#include "jit/emit/host_target.h"
#include "jit/emit/masked_access.h"
#include "jit/lift/unknown_value.h"

namespace tracelift::jit {
namespace {

constexpr int64_t kRedZone = 128;

bool IsEntryRsp(const llvm::Value* value, const llvm::Function& function) {
  const auto* load = llvm::dyn_cast<llvm::LoadInst>(value);
  if (load == nullptr) return false;
  llvm::APInt offset(64, 0);
  const llvm::Value* base = load->getPointerOperand()->stripAndAccumulateConstantOffsets(
      function.getParent()->getDataLayout(), offset, /*AllowNonInbounds=*/true);
  return base == function.getArg(0) && offset == offsetof(MachineState, gpr) + 8 * kRsp;
}

/// c when `pointer` is the address (rsp at entry) + c.
std::optional<int64_t> OffsetFromRsp(const llvm::Value* pointer, const llvm::Function& function) {
  using namespace llvm::PatternMatch;
  int64_t offset = 0;
  bool found = false;
  while (const auto* step = llvm::dyn_cast<llvm::GetElementPtrInst>(pointer)) {
    if (!step->getSourceElementType()->isIntegerTy(8) || step->getNumIndices() != 1) return std::nullopt;
    const llvm::Value* index = step->getOperand(1);
    const llvm::APInt* constant = nullptr;
    llvm::Value* rest = nullptr;
    if (match(index, m_APInt(constant))) {
      offset += constant->getSExtValue();
    } else {
      if (match(index, m_AddLike(m_Value(rest), m_APInt(constant)))) {
        offset += constant->getSExtValue();
        index = rest;
      }
      if (found || !IsEntryRsp(index, function)) return std::nullopt;
      found = true;
    }
    pointer = step->getPointerOperand();
  }
  return found ? std::optional(offset) : std::nullopt;
}

class Promotion {
 public:
  Promotion(llvm::Function& function, llvm::BasicBlock& header, int64_t bytes)
      : function_(function), header_(header), bytes_((bytes + kRedZone + 7) & ~int64_t{7}) {}

  /// Accesses that lead to the frame now; false when there was none.
  bool Redirect() {
    std::vector<std::pair<llvm::Use*, int64_t>> found;
    for (llvm::BasicBlock& block : function_) {
      for (llvm::Instruction& instruction : block) {
        if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction)) {
          Note(load->getOperandUse(0), load->getType(), &found);
        } else if (auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction)) {
          Note(store->getOperandUse(1), store->getValueOperand()->getType(), &found);
        } else if (const std::optional<MaskedAccess> masked = MaskedAccessOf(instruction)) {
          Note(*masked->pointer, masked->type, &found);
        }
      }
    }
    if (found.empty()) return false;
    if (frame_ == nullptr) CreateFrame();
    for (auto [use, offset] : found) {
      llvm::IRBuilder<> builder(llvm::cast<llvm::Instruction>(use->getUser()));
      use->set(builder.CreateConstInBoundsGEP1_64(builder.getInt8Ty(), frame_, static_cast<uint64_t>(bytes_ + offset)));
    }
    return true;
  }

 private:
  void Note(llvm::Use& pointer, llvm::Type* type, std::vector<std::pair<llvm::Use*, int64_t>>* found) const {
    const std::optional<int64_t> offset = OffsetFromRsp(pointer.get(), function_);
    const auto size = static_cast<int64_t>(function_.getParent()->getDataLayout().getTypeStoreSize(type));
    if (offset.has_value() && *offset >= -bytes_ && *offset + size <= 0) found->emplace_back(&pointer, *offset);
  }

  /// Each pass finds unknown values in it.
  void CreateFrame() {
    llvm::IRBuilder<> entry(&function_.getEntryBlock(), function_.getEntryBlock().getFirstInsertionPt());
    auto* type = llvm::ArrayType::get(entry.getInt64Ty(), static_cast<uint64_t>(bytes_ / 8));
    frame_ = entry.CreateAlloca(type, nullptr, "frame");
    llvm::IRBuilder<> builder(&header_, header_.getFirstInsertionPt());
    llvm::Type* number = builder.getInt64Ty();
    for (int64_t at = 0; at < bytes_; at += 8) {
      constexpr uint64_t kFrameNumbers = uint64_t{1} << 32;  // apart from the lifter's
      llvm::Value* value = UnknownValue(builder, kUnknownMarker, number, kFrameNumbers + static_cast<uint64_t>(at));
      llvm::Type* byte = builder.getInt8Ty();
      builder.CreateStore(value, builder.CreateConstInBoundsGEP1_64(byte, frame_, static_cast<uint64_t>(at)));
    }
  }

  llvm::Function& function_;
  llvm::BasicBlock& header_;
  const int64_t bytes_;
  llvm::AllocaInst* frame_ = nullptr;
};

}  // namespace

void PromoteCalleeFrame(llvm::Function& function, int64_t bytes, Analyses& analyses) {
  constexpr int kMostRounds = 8;
  const llvm::LoopInfo& loops = analyses.function.getResult<llvm::LoopAnalysis>(function);
  if (loops.empty()) return;
  Promotion promotion(function, *(*loops.begin())->getHeader(), bytes);
  // Values that went through the frame may be addresses in it (a pointer to a local, spilled). They are forwarded with
  // the stores left in place, until no further access is found.
  for (int round = 0; round < kMostRounds && promotion.Redirect(); ++round) {
    analyses.function.clear();
    llvm::FunctionPassManager forward;
    forward.addPass(llvm::GVNPass());
    forward.addPass(llvm::InstCombinePass());
    forward.addPass(llvm::SimplifyCFGPass());
    forward.run(function, analyses.function);
  }
  analyses.function.clear();
}

}  // namespace tracelift::jit
